"""What a record tells: a summary, its floods, how rare they are, and when they reach landmarks.

:func:`summarize` describes a record. Import the modules for the rest: ``floods.find``,
``landmarks.lead_times``, ``frequency.annual_maxima``.
"""

from creeklab.creek.analysis.summary import summarize

__all__ = ["summarize"]
