"""When to send a QoS 1 message again that the client has not acknowledged.

AWS IoT Core resends over the same connection, for up to an hour (quotas of the message broker). The
MQTT 5 standard allows it over a new connection only, so it is a setting.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_AGE = 3600.0


class Resends:
    """The messages in flight over one connection, with the times at which they were sent.

    Parameters
    ----------
    seconds
        How long to wait for a PUBACK.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._times: dict[int, tuple[float, float]] = {}  # first and last, by packet id

    def due(self, in_flight: Iterable[int], now: float) -> list[int]:
        """Return the packet ids to send again; call it about once a second.

        A message that was sent since the last call counts as sent now.
        """
        times = {packet_id: self._times.get(packet_id, (now, now)) for packet_id in in_flight}
        due = [
            packet_id
            for packet_id, (first, last) in times.items()
            if now - last >= self._seconds and now - first <= MAX_AGE
        ]
        times.update((packet_id, (times[packet_id][0], now)) for packet_id in due)
        self._times = times
        return due
