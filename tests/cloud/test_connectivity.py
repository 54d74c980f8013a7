"""Connected clients, and the last connection of disconnected ones."""

from dataclasses import dataclass

import pytest

from creeklab.cloud.mqtt.lifecycle import connectivity
from creeklab.cloud.mqtt.lifecycle.connectivity import ClientConnectivity, ConnectivityTracker
from creeklab.cloud.mqtt.lifecycle.disconnect_reasons import DisconnectReason

LOST = DisconnectReason.CONNECTION_LOST


@dataclass
class Clock:
    now: float = 1_785_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> ConnectivityTracker:
    return ConnectivityTracker(clock)


def arrive(known: ConnectivityTracker, client_id: str = "a", expiry: int = 0) -> ClientConnectivity:
    return known.connected(client_id, ("192.0.2.7", 50123, "127.0.0.1", 8883), 1200, expiry)


def test_connect_and_disconnect(known: ConnectivityTracker, clock: Clock) -> None:
    assert known.get("a") is None
    here = arrive(known)
    assert known.get("a") == here
    assert (here.connected, here.since, here.disconnected_at) == (True, clock.now, None)
    assert (here.source_ip, here.source_port) == ("192.0.2.7", 50123)
    assert (here.target_ip, here.target_port) == ("127.0.0.1", 8883)
    assert (here.keep_alive, here.clean_session, here.session_expiry) == (1200, True, 0)
    clock.now += 5
    gone = known.disconnected("a", LOST, 0)
    assert gone is not None
    assert known.get("a") == gone
    assert (gone.connected, gone.disconnected_at, gone.disconnect_reason) == (
        False,
        clock.now,
        "CONNECTION_LOST",
    )
    assert gone.session_identifier == here.session_identifier
    assert known.disconnected("a", LOST, 0) is None


@pytest.mark.parametrize(
    ("expiry", "away", "number"),
    [(0, 3600, 1), (0, 3601, 0), (7200, 3601, 1), (7200, 7201, 0), (60, 3600, 1)],
)
def test_version_numbers_restart_after_a_long_absence(
    known: ConnectivityTracker, clock: Clock, expiry: int, away: int, number: int
) -> None:
    first = arrive(known, expiry=expiry)
    assert first.version_number == 0
    known.disconnected("a", LOST, expiry)
    clock.now += away
    second = arrive(known)
    assert second.version_number == number
    assert second.session_identifier != first.session_identifier


def test_a_disconnect_can_change_the_expiry(known: ConnectivityTracker) -> None:
    arrive(known, expiry=60)
    gone = known.disconnected("a", DisconnectReason.CLIENT_INITIATED_DISCONNECT, 30)
    assert gone is not None
    assert gone.session_expiry == 30


def test_the_number_of_remembered_clients_is_bounded(
    known: ConnectivityTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connectivity, "MAX_DISCONNECTED", 3)
    arrive(known, "stays")
    for client_id in "abcd":
        arrive(known, client_id)
        known.disconnected(client_id, LOST, 0)
    assert [client_id for client_id in "abcd" if known.get(client_id)] == ["b", "c", "d"]
    assert known.get("stays")
