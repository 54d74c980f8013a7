"""The renderer: one thread draws all changes in the end, several of them at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from creeklab.widgets.renderer import INTERVAL, MAX_RATE, Renderer, pause


class Drawn:
    """A value that threads change, and the values that were drawn."""

    def __init__(self) -> None:
        self.value = 0
        self.seen: list[int] = []
        self.threads: set[str] = set()
        self.errors: list[Exception] = []
        self.lock = threading.Lock()
        self.active = 0
        self.max_active = 0

    def draw(self) -> int:
        with self.lock:
            self.active += 1
            self.max_active = max(self.max_active, self.active)
        self.threads.add(threading.current_thread().name)
        self.seen.append(self.value)
        with self.lock:
            self.active -= 1
        return 0

    @contextmanager
    def renderer(self, interval: float = 0.0) -> Iterator[Renderer]:
        renderer = Renderer(self.draw, self.errors.append, interval=interval)
        try:
            yield renderer
        finally:
            renderer.close()


def renderers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "creeklab-renderer"]


def test_a_change_is_drawn() -> None:
    drawn = Drawn()
    with drawn.renderer() as renderer:
        for value in (1, 2, 3):
            drawn.value = value
            renderer.request()
            renderer.settle()
            assert drawn.seen[-1] == value
    assert drawn.threads == {"creeklab-renderer"}


def test_nothing_is_drawn_without_a_change() -> None:
    drawn = Drawn()
    with drawn.renderer() as renderer:
        renderer.request()
        renderer.settle()
        renderer.settle()
    assert len(drawn.seen) == 1


def test_many_changes_are_drawn_a_few_times_including_the_last() -> None:
    drawn = Drawn()
    with drawn.renderer(interval=0.05) as renderer:
        for value in range(10_000):
            drawn.value = value
            renderer.request()
        renderer.settle()
    assert drawn.seen[-1] == 9_999
    assert len(drawn.seen) < 1_000


def test_the_pause_is_longer_after_a_large_drawing() -> None:
    assert pause(0) == pause(MAX_RATE // 20) == INTERVAL
    assert pause(3 * MAX_RATE) == 3.0


def test_a_failed_drawing_is_reported_and_the_next_is_drawn() -> None:
    drawn = Drawn()
    broken = threading.Event()
    broken.set()

    def draw() -> int:
        if broken.is_set():
            raise ValueError("no picture")
        return drawn.draw()

    renderer = Renderer(draw, drawn.errors.append, interval=0.0)
    renderer.request()
    renderer.settle()
    assert [str(error) for error in drawn.errors] == ["no picture"]
    broken.clear()
    renderer.request()
    renderer.settle()
    renderer.close()
    assert drawn.seen == [0]


def test_many_threads_request_and_one_draws() -> None:
    drawn = Drawn()
    with drawn.renderer() as renderer:

        def change() -> None:
            for _ in range(2_000):
                with drawn.lock:
                    drawn.value += 1
                renderer.request()

        threads = [threading.Thread(target=change) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        renderer.settle()
    assert drawn.seen[-1] == 16_000
    assert drawn.seen == sorted(drawn.seen)
    assert drawn.max_active == 1


def test_closing_ends_the_thread_and_can_be_repeated() -> None:
    before = len(renderers())
    drawn = Drawn()
    renderer = Renderer(drawn.draw, drawn.errors.append)
    assert len(renderers()) == before + 1
    renderer.close()
    renderer.close()
    renderer.request()
    assert len(renderers()) == before
    with pytest.raises(TimeoutError, match=r"^The view was not drawn within 0\.05 s\.$"):
        renderer.settle(0.05)


def test_a_drawing_can_close_its_renderer() -> None:
    closed = threading.Event()

    def draw() -> int:
        renderer.close()
        closed.set()
        return 0

    renderer = Renderer(draw, lambda _: None)
    renderer.request()
    assert closed.wait(5)
    renderer._thread.join(5)
    assert not renderer._thread.is_alive()
