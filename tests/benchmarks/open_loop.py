"""An open-loop generator: each message goes out when it is due, whether or not the broker keeps up.

The send times are fixed beforehand, and latency counts from the time a message was due, not from
the time it was written. A stall, of the broker or of the generator itself, therefore counts against
every message that it delays. A generator that waits for the broker would send fewer messages during
the stall and hide it ("coordinated omission").

One process and one thread, with frames encoded beforehand. A message with three deliveries costs
0.2 to 0.4 ms of processor time at 1,000 messages a second. At 16,000 it costs 0.05 ms, because one
write or read carries several messages. The generator reports the share of a processor that it used.
Near 100 % it has no time left, and its own delay is part of the latency: treat the latency as an
upper bound, and the highest load as a lower bound.
"""

from __future__ import annotations

import gc
import select
import selectors
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from .traffic import IN_FLIGHT, PUBACK, Frames, Line

LEAD_SECONDS = 0.1  # from the call to the first message
SILENCE_SECONDS = 5.0
# A receiver of every message gets a turn after so many others: the broker has at most `IN_FLIGHT`
# messages under way to it, so the time until it acknowledges limits the rate.
TURNS = 32


@dataclass(frozen=True)
class Message:
    """A QoS 1 message and the time to send it.

    Attributes
    ----------
    sender
        Index of the sending connection.
    due
        Seconds after the start.
    payload
        Unlike that of any other message. All payloads have one length, and so have all topics.
    """

    sender: int
    due: float
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Outcome:
    """The fate of the messages.

    Attributes
    ----------
    latencies
        For each receiver, seconds from due to received, in the order of receipt.
    lost
        Missing deliveries. Every message was acknowledged.
    own_share
        Share of one processor that the generator used, 0 to 1.
    """

    latencies: list[list[float]]
    lost: int
    own_share: float


class _Sender:
    """Publishes what is due, with at most `IN_FLIGHT` messages unacknowledged."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._rest = b""
        self._sent = 0
        self.acknowledged = 0
        self.waiting: deque[Frames] = deque()

    def flush(self) -> None:
        room = min(len(self.waiting), IN_FLIGHT - (self._sent - self.acknowledged))
        if room:
            made = []
            for _ in range(room):
                self._sent += 1
                made.append(self.waiting.popleft().make(_packet_id(self._sent)))
            self._line.send_all(b"".join(made))

    def take(self) -> None:
        """Read PUBACKs, and send what waited for them."""
        data = self._rest + self._line.read()
        whole = len(data) // 4 * 4
        self._rest = data[whole:]
        for at in range(0, whole, 4):
            self.acknowledged += 1
            expected = PUBACK + _packet_id(self.acknowledged).to_bytes(2, "big")
            if data[at : at + 4] != expected:
                raise AssertionError(f"No PUBACK, or not the next: {data[at : at + 20]!r}")
        self.flush()


class _Receiver:
    """Acknowledges messages, and records how late each is."""

    def __init__(self, line: Line, sent: _Sent) -> None:
        self._line = line
        self._sent = sent
        self._rest = b""
        self._seen = bytearray(len(sent.frames))
        self.latencies: list[float] = []

    def take(self) -> None:
        sent = self._sent
        length, head = sent.length, sent.head
        data = self._rest + self._line.read()
        now = time.perf_counter() - sent.began
        whole = len(data) // length * length
        self._rest = data[whole:]
        acknowledged = []
        for at in range(0, whole, length):
            body = at + head
            acknowledged.append(PUBACK + data[body : body + 2])
            number = sent.numbers.get(data[body + 2 : at + length], -1)
            if number < 0 or data[at:body] != sent.frames[number].before or self._seen[number]:
                raise AssertionError(f"Unknown or repeated: {data[at : at + length]!r}")
            self._seen[number] = 1
            self.latencies.append(now - sent.messages[number].due)
        if acknowledged:
            self._line.send_all(b"".join(acknowledged))


class _Sent:
    """The messages of one round, and how to recognize them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.frames = [Frames(each.topic, 1, each.payload) for each in messages]
        self.numbers = {frames.after: number for number, frames in enumerate(self.frames)}
        self.length = self.frames[0].length
        self.head = len(self.frames[0].before)
        self.began = 0.0
        if len(self.numbers) < len(messages) or {each.length for each in self.frames} != {
            self.length
        }:
            raise ValueError("The messages need different payloads of one length.")


def offer(
    senders: Sequence[Line],
    receivers: Sequence[tuple[Line, int]],
    messages: Sequence[Message],
    *,
    silence: float = SILENCE_SECONDS,
) -> Outcome:
    """Send each message when it is due, and wait until all of them are delivered.

    Parameters
    ----------
    receivers
        Connections that have subscribed, each with the number of messages it must receive.
    messages
        In the order in which they are due.
    silence
        Seconds without any packet after which the missing deliveries count as lost.

    Raises
    ------
    AssertionError
        If a message is not acknowledged, arrives twice, or arrives altered.
    """
    sent = _Sent(messages)
    sending = [_Sender(line) for line in senders]
    receiving = [_Receiver(line, sent) for line, _ in receivers]
    wanted = sum(count for _, count in receivers)
    eager = [
        each
        for each, (_, count) in zip(receiving, receivers, strict=True)
        if len(receivers) > 1 and count == len(messages)
    ]
    lines = [*senders, *(line for line, _ in receivers)]
    with selectors.DefaultSelector() as selector:
        for line, side in zip(lines, [*sending, *receiving], strict=True):
            line.socket.setblocking(False)
            selector.register(line.socket, selectors.EVENT_READ, side)
        gc.collect()
        gc.disable()  # a collection would delay every message that is due
        try:
            sent.began = time.perf_counter() + LEAD_SECONDS
            own = time.process_time()
            took = _run(selector, sent, sending, receiving, eager, wanted, silence)
            own = time.process_time() - own
        finally:
            gc.enable()
    missing = len(messages) - sum(each.acknowledged for each in sending)
    if missing:
        raise AssertionError(f"{missing} of {len(messages)} messages were not acknowledged.")
    latencies = [each.latencies for each in receiving]
    lost = wanted - sum(len(each) for each in latencies)
    return Outcome(latencies, lost, own / took)


def _run(
    selector: selectors.DefaultSelector,
    sent: _Sent,
    sending: Sequence[_Sender],
    receiving: Sequence[_Receiver],
    eager: Sequence[_Receiver],
    wanted: int,
    silence: float,
) -> float:
    """Drive the round until nothing is missing or nothing comes; return the seconds it took."""
    messages, frames, began = sent.messages, sent.frames, sent.began
    count, position = len(messages), 0
    heard = messages[-1].due
    while True:
        now = time.perf_counter() - began
        due = set()
        while position < count and messages[position].due <= now:
            sender = messages[position].sender
            sending[sender].waiting.append(frames[position])
            due.add(sender)
            position += 1
        if position == count and _all_arrived(sending, receiving, count, wanted):
            return now
        until = messages[position].due if position < count else heard + silence
        # The selector itself can wait for whole milliseconds only; select() on it is finer.
        wait = 0.0 if due else max(0.0, until - (time.perf_counter() - began))
        select.select([selector.fileno()], [], [], wait)
        ready = [key.data for key, _ in selector.select(0)]
        turns = [*(sending[sender].flush for sender in due), *(side.take for side in ready)]
        for number, turn in enumerate(turns, 1):
            turn()
            if number % TURNS == 0:
                for busy in eager:
                    busy.take()
        if ready:
            heard = max(heard, now)
        elif position == count and now > heard + silence:
            return heard


def _all_arrived(
    sending: Sequence[_Sender], receiving: Sequence[_Receiver], count: int, wanted: int
) -> bool:
    return (
        sum(len(each.latencies) for each in receiving) >= wanted
        and sum(each.acknowledged for each in sending) == count
    )


def _packet_id(number: int) -> int:
    return (number - 1) % 65535 + 1
