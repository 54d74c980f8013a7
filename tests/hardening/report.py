"""The results of a run with malformed inputs."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MOST_FINDINGS = 20


class Report:
    """The counts and findings of a run.

    Attributes
    ----------
    counts
        How often each outcome occurred, by part and outcome.
    findings
        The first findings, each as text.
    slowest
        Processor seconds for the slowest input of each part.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.findings: list[str] = []
        self.slowest: dict[str, float] = {}

    def saw(self, part: str, outcome: str, number: int = 1) -> None:
        self.counts[part, outcome] += number

    @contextmanager
    def watching(self, part: str, sent: object) -> Iterator[None]:
        """Record the failure of an input, and how long it takes."""
        began = time.process_time()
        try:
            yield
        except Exception:
            self.counts[part, "FOUND"] += 1
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(f"{part}: {sent!r}\n{traceback.format_exc()}")
        seconds = time.process_time() - began
        self.slowest[part] = max(self.slowest.get(part, 0.0), seconds)

    def total(self, part: str) -> int:
        return sum(number for (of, _), number in self.counts.items() if of == part)

    def lines(self) -> Iterator[str]:
        for part in dict.fromkeys(part for part, _ in self.counts):
            outcomes = [
                f"{number} {outcome}"
                for (of, outcome), number in self.counts.most_common()
                if of == part
            ]
            slowest = self.slowest.get(part, 0.0) * 1000
            yield f"{part}: {', '.join(outcomes)}; the slowest took {slowest:.0f} ms"
