"""Check the quality of a record, and inject faults on purpose to measure how many a check finds.

:func:`check` tests every reading (QARTOD) against limits from the creek's own record.
:func:`inject` adds faults to good readings, and :func:`detection_scores` compares the findings
with them.
"""

from creeklab.creek.quality.fault_injection import KINDS, Fault, inject, random_faults
from creeklab.creek.quality.limits import Limits, derive
from creeklab.creek.quality.quality import Quality, check
from creeklab.creek.quality.score import detection_scores

__all__ = [
    "KINDS",
    "Fault",
    "Limits",
    "Quality",
    "check",
    "derive",
    "detection_scores",
    "inject",
    "random_faults",
]
