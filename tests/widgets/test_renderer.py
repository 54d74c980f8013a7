"""The renderer: everything is drawn in the end, by one thread, and not each change by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from creeklab.widgets.renderer import CHARACTERS, INTERVAL, Renderer, pause


class Drawn:
    """A value that threads change, and what was drawn of it."""

    def __init__(self) -> None:
        self.value = 0
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.lock = threading.Lock()
        self.inside = 0
        self.most_inside = 0

    def draw(self) -> int:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.threads.add(threading.current_thread().name)
        self.seen.append(self.value)
        with self.lock:
            self.inside -= 1
        return 0

    @contextmanager
    def renderer(self, interval: float = 0.0) -> Iterator[Renderer]:
        made = Renderer(self.draw, self.errors.append, interval=interval)
        try:
            yield made
        finally:
            made.close()


def renderers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "creeklab-renderer"]


def test_what_changed_is_drawn() -> None:
    drawn = Drawn()
    with drawn.renderer() as made:
        for value in (1, 2, 3):
            drawn.value = value
            made.soon()
            made.settle()
            assert drawn.seen[-1] == value
    assert drawn.threads == {"creeklab-renderer"}


def test_nothing_is_drawn_when_nothing_changed() -> None:
    drawn = Drawn()
    with drawn.renderer() as made:
        made.soon()
        made.settle()
        made.settle()
    assert len(drawn.seen) == 1


def test_many_changes_are_few_drawings_and_the_last_one_is_among_them() -> None:
    drawn = Drawn()
    with drawn.renderer(interval=0.05) as made:
        for value in range(10_000):
            drawn.value = value
            made.soon()
        made.settle()
    assert drawn.seen[-1] == 9_999
    assert len(drawn.seen) < 1_000


def test_after_a_large_drawing_it_waits_longer() -> None:
    assert pause(0) == pause(CHARACTERS // 20) == INTERVAL
    assert pause(3 * CHARACTERS) == 3.0


def test_a_drawing_that_fails_is_told_and_the_next_is_drawn() -> None:
    drawn = Drawn()
    broken = threading.Event()
    broken.set()

    def draw() -> int:
        if broken.is_set():
            raise ValueError("no picture")
        return drawn.draw()

    made = Renderer(draw, drawn.errors.append, interval=0.0)
    made.soon()
    made.settle()
    assert [str(error) for error in drawn.errors] == ["no picture"]
    broken.clear()
    made.soon()
    made.settle()
    made.close()
    assert drawn.seen == [0]


def test_many_threads_ask_and_one_draws() -> None:
    drawn = Drawn()
    with drawn.renderer() as made:

        def ask() -> None:
            for _ in range(2_000):
                with drawn.lock:
                    drawn.value += 1
                made.soon()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.settle()
    assert drawn.seen[-1] == 16_000
    assert drawn.seen == sorted(drawn.seen)
    assert drawn.most_inside == 1


def test_closing_ends_the_thread_and_may_be_repeated() -> None:
    before = len(renderers())
    drawn = Drawn()
    made = Renderer(drawn.draw, drawn.errors.append)
    assert len(renderers()) == before + 1
    made.close()
    made.close()
    made.soon()
    assert len(renderers()) == before
    with pytest.raises(TimeoutError, match=r"^Nothing was drawn within 0\.05 s\.$"):
        made.settle(0.05)


def test_it_may_be_closed_by_what_it_draws() -> None:
    closed = threading.Event()

    def draw() -> int:
        made.close()
        closed.set()
        return 0

    made = Renderer(draw, lambda _: None)
    made.soon()
    assert closed.wait(5)
    made._thread.join(5)
    assert not made._thread.is_alive()
