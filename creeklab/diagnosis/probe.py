"""One check, what it found, and a run of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.display.table import html_table, text_table


class CheckFailed(Exception):
    """What a check found wrong, and the one thing to do."""

    def __init__(self, found: str, do: str) -> None:
        super().__init__(found, do)
        self.found = found
        self.do = do


def aws_unreachable(error: Exception) -> CheckFailed:
    """Return what is wrong if AWS refuses to answer."""
    said = " ".join(str(error).split()).rstrip(".")
    return CheckFailed(
        f"AWS cannot be asked: {said}.", "open the lab again with creeklab.open_lab()."
    )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes
    ----------
    about
        What was looked at.
    ok
        Whether it is right; None if the check was skipped.
    found
        What was found, in a sentence.
    do
        The one thing to do if it is wrong, else ``""``.
    """

    about: str
    ok: bool | None
    found: str
    do: str = ""

    @property
    def state(self) -> str:
        """``"OK"``, ``"WRONG"`` or ``"skipped"``."""
        return "skipped" if self.ok is None else "OK" if self.ok else "WRONG"


class CheckReport(tuple[CheckResult, ...]):
    """What the doctor found, in order."""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.ok is not False for finding in self)

    def failures(self) -> list[CheckResult]:
        """Return what is wrong."""
        return [finding for finding in self if finding.ok is False]

    def _summary(self) -> str:
        if self.ok:
            return "All is well."
        return "The first thing to do: " + self.failures()[0].do

    def __repr__(self) -> str:
        rows = []
        for finding in self:
            rows.append((finding.state, finding.about, finding.found))
            if finding.do:
                rows.append(("", "", f"Do: {finding.do}"))
        return "\n".join(filter(None, [text_table(rows, min_width=7), self._summary()]))

    def _repr_html_(self) -> str:
        rows = [
            (each.state, each.about, " ".join(filter(None, [each.found, each.do]))) for each in self
        ]
        return html_table(("", "looked at", "found"), rows, note=self._summary(), states=True)


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing.

    Attributes
    ----------
    about
        What it looks at, by which `needs` of others name it.
    look
        Returns what is right; raises `Wrong`. What AWS refuses to tell is wrong too.
    needs
        What has to be right for it to mean anything.
    """

    about: str
    run: Callable[[], str]
    needs: Sequence[str] = ()


def run_checks(probes: Iterable[Check]) -> CheckReport:
    """Make the probes, in order."""
    found: dict[str, CheckResult] = {}
    for probe in probes:
        # A probe that is not in the row, as on another target, is no hindrance.
        hindrance = next(
            (name for name in probe.needs if name in found and not found[name].ok), None
        )
        if hindrance is not None:
            finding = CheckResult(
                probe.about, None, f"means nothing before '{hindrance}' is right."
            )
        else:
            try:
                finding = CheckResult(probe.about, True, probe.run())
            except CheckFailed as wrong:
                finding = CheckResult(probe.about, False, wrong.found, wrong.do)
            except (ClientError, BotoCoreError) as error:
                refused = aws_unreachable(error)
                finding = CheckResult(probe.about, False, refused.found, refused.do)
        found[probe.about] = finding
    return CheckReport(found.values())
