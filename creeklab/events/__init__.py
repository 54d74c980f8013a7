"""The event log as a table, a file, a sequence chart, and a session to replay.

`lab.events()` returns the table::

    from creeklab import events

    events.chart(lab.events(after=100))                # draw part of it as a sequence chart
    events.save(lab.events(), "morning.jsonl")         # one JSON object per line
    events.load("morning.jsonl")                       # the same table again
    events.replay(events.load("morning.jsonl"), lab)   # let the devices do it all again
"""

from creeklab.events.replay import replay
from creeklab.events.sequence_chart import chart
from creeklab.events.table import load, save, table

__all__ = ["chart", "load", "replay", "save", "table"]
