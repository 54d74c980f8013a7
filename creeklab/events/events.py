"""The tape on this side of the cloud: as a table, as a file, as a chart, and played again.

`creeklab.lab.lab.Lab.tape` returns the table. With it::

    from creeklab import tape

    tape.chart(lab.tape(after=100))            # a sequence chart of a stretch of it
    tape.save(lab.tape(), "morning.jsonl")     # one JSON object a line
    tape.load("morning.jsonl")                 # the same table again
    tape.replay(tape.load("morning.jsonl"), lab)   # the devices do it all once more
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from creeklab.events.table import entries

if TYPE_CHECKING:
    import pandas as pd

    from creeklab.events.replay import EventReplay
    from creeklab.events.sequence_chart import SequenceChart
    from creeklab.lab.lab import Lab


def chart(tape: pd.DataFrame, *, most: int = 40, title: str = "") -> SequenceChart:
    """Draw who sent what to whom, in order, as a sequence chart.

    Parameters
    ----------
    tape
        The stretch to draw, such as ``lab.tape(after=100, thing="Test2")``.
    most
        How many entries; of a longer stretch the last ones.
    title
        What it shows, in a few words.
    """
    from creeklab.events.sequence_chart import SequenceChart

    found = entries(tape.tail(most))
    return SequenceChart(found, left_out=len(tape) - len(found), title=title)


def replay(tape: pd.DataFrame, lab: Lab) -> EventReplay:
    """Have the devices of a tape do it all once more, and compare what comes of it.

    Connections, subscriptions and messages are made anew through awsiotsdk, with the certificates
    that are saved in this lab for the Things, one after the other as on the tape and without its
    pauses. What the cloud does by itself, such as the answers of the shadow service, is not sent
    but expected. Wills, persistent sessions and MQTT 5 properties are not on a tape's table in
    full, and left out.

    Returns
    -------
    TapeReplay
        What each of them did and what differs; on AWS, which has no tape, only whether it was
        allowed.
    """
    from creeklab.events.replay import replay as play

    return play(entries(tape), lab)
