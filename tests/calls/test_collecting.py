from __future__ import annotations

import gc
import threading

import pytest

from safetycatch.calls import collecting


@pytest.fixture(autouse=True)
def _restored():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_the_collector_is_as_before_once_the_last_run_ends() -> None:
    gc.set_threshold(700, 10, 9)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collecting.rarely():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with collecting.rarely():
        thread.start()
        inside.wait()
        assert gc.get_threshold() == (collecting.OBJECTS, 10, 9)
    assert gc.get_threshold() == (collecting.OBJECTS, 10, 9)
    leave.set()
    thread.join()
    assert gc.get_threshold() == (700, 10, 9)


def test_who_turned_it_off_or_set_it_higher_is_left_alone() -> None:
    for chosen in ((0, 10, 10), (10**6, 10, 10)):
        gc.set_threshold(*chosen)
        with collecting.rarely():
            assert gc.get_threshold() == chosen
        assert gc.get_threshold() == chosen
