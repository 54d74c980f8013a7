"""A check of one thing, its result, and a report of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from creeklab.display.table import html_table, text_table


class CheckFailed(Exception):
    """The problem that a check found, and its fix."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found, fix)
        self.found = found
        self.fix = fix


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check, in a sentence, and how to fix the problem if there is one.

    `ok` is None if the check was skipped.
    """

    name: str
    ok: bool | None
    found: str
    fix: str = ""

    @property
    def state(self) -> str:
        """``"OK"``, ``"WRONG"`` or ``"skipped"``."""
        return "skipped" if self.ok is None else "OK" if self.ok else "WRONG"


class CheckReport(tuple[CheckResult, ...]):
    """The results of several checks, in order."""

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(result.ok is not False for result in self)

    def failures(self) -> list[CheckResult]:
        """Return the failed checks."""
        return [result for result in self if result.ok is False]

    def _summary(self) -> str:
        if self.ok:
            return "All checks passed."
        return "Fix this first: " + self.failures()[0].fix

    def __repr__(self) -> str:
        rows = []
        for result in self:
            rows.append((result.state, result.name, result.found))
            if result.fix:
                rows.append(("", "", f"Fix: {result.fix}"))
        return "\n".join(filter(None, [text_table(rows, min_width=7), self._summary()]))

    def _repr_html_(self) -> str:
        rows = [
            (each.state, each.name, " ".join(filter(None, [each.found, each.fix]))) for each in self
        ]
        return html_table(("", "check", "result"), rows, note=self._summary(), states=True)


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one thing.

    Attributes
    ----------
    run
        Returns a sentence if the check passes, and raises `CheckFailed` if it does not. An error
        from AWS is a failure too.
    needs
        The checks that must pass for this one to mean anything.
    """

    name: str
    run: Callable[[], str]
    needs: Sequence[str] = ()


def run_checks(checks: Iterable[Check]) -> CheckReport:
    """Run checks in order, and skip those whose needs failed."""
    results: dict[str, CheckResult] = {}
    for check in checks:
        # A needed check may be missing, on another target for example. Then it blocks nothing.
        blocker = next(
            (name for name in check.needs if name in results and not results[name].ok), None
        )
        if blocker is not None:
            result = CheckResult(check.name, None, f"'{blocker}' must pass first.")
        else:
            result = _run(check)
        results[check.name] = result
    return CheckReport(results.values())


def _run(check: Check) -> CheckResult:
    try:
        return CheckResult(check.name, True, check.run())
    except CheckFailed as failed:
        return CheckResult(check.name, False, failed.found, failed.fix)
    except (ClientError, BotoCoreError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        fix = "open the lab again: creeklab.open_lab()."
        return CheckResult(check.name, False, f"cannot call AWS: {reason}.", fix)
