"""Check the quality of a record, and inject faults on purpose to measure how many a check finds.

:func:`check` tests every reading (QARTOD) against limits from the creek's own record.
:func:`inject` adds faults to good readings, and :func:`detection_scores` compares the findings
with them.
"""

from creeklab.creek.quality.fault_injection import Fault, inject, random_faults
from creeklab.creek.quality.quality import check
from creeklab.creek.quality.score import detection_scores

__all__ = ["Fault", "check", "detection_scores", "inject", "random_faults"]
