"""Staying awake after a message: for how long, and that the conversation is the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from creeklab import open_lab
from creeklab.cloud import supervisor
from creeklab.cloud.mqtt.listeners.busy_poll import BusyPoll
from tests.conftest import make_thing


class Loop:
    """A loop that runs one turn when it is told to."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], Any]] = []

    def call_soon(self, call: Callable[[], Any]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()


def test_it_stays_awake_for_its_time_after_the_last_message() -> None:
    loop, times = Loop(), [0.0]
    spin = BusyPoll(cast(asyncio.AbstractEventLoop, loop), 0.5, lambda: times[0])
    assert loop.soon == []
    spin.on_receive()
    times[0] = 0.4
    loop.turn()
    spin.on_receive()
    assert len(loop.soon) == 1  # one callback, however many messages
    times[0] = 0.8
    loop.turn()
    assert len(loop.soon) == 1
    times[0] = 0.9
    loop.turn()
    assert loop.soon == []  # it sleeps
    spin.on_receive()
    assert len(loop.soon) == 1


def test_a_cloud_that_spins_answers_as_any_other(home: Path) -> None:
    supervisor.start_or_attach(home, settings=["spin_microseconds=150"])
    lab = open_lab(home=home)
    thing = make_thing(lab)
    with lab.connect(thing.name) as device:
        inbox = device.subscribe("creek/#")
        for number in range(20):
            device.publish("creek/depth", {"depth": number})
        heard = [message.json["depth"] for message in inbox.wait_for(20, timeout=15)]
    assert heard == list(range(20))
