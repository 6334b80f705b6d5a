"""SharedRun: tests in several processes, of which some want the machine for themselves."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import pytest

from harness.shared_run import SharedRun


def is_free(lock: Path) -> bool:
    """Whether anybody else could have it, alone."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], SharedRun]]:
    """Makes one more process of a run, as far as locks can tell."""
    with ExitStack() as open_ones:
        yield lambda: open_ones.enter_context(closing(SharedRun(tmp_path)))


def test_who_wants_the_machine_alone_comes_next(process: Callable[[], SharedRun], tmp_path: Path) -> None:
    """Once those have ended that run already; who comes later waits for it to end as well."""
    one, alone, other = process(), process(), process()
    came: list[str] = []

    def run(of: SharedRun, *, wants_alone: bool) -> Thread:
        def test() -> None:
            with of.machine(alone=wants_alone, next_alone=False):
                came.append("alone" if wants_alone else "beside")

        thread = Thread(target=test)
        thread.start()
        return thread

    with one.machine(alone=False, next_alone=False):
        first = run(alone, wants_alone=True)
        while is_free(tmp_path / "door.lock"):
            time.sleep(0.001)
        second = run(other, wants_alone=False)
        assert came == []
    first.join()
    second.join()
    assert came == ["alone", "beside"]
    assert is_free(tmp_path / "machine.lock")


def test_nobody_comes_in_between_two_that_want_it_alone(process: Callable[[], SharedRun], tmp_path: Path) -> None:
    """Others would have to be waited for again."""
    one = process()
    for next_alone in (True, False):
        with one.machine(alone=True, next_alone=next_alone):
            assert not is_free(tmp_path / "machine.lock")
        assert is_free(tmp_path / "machine.lock") != next_alone


def test_tests_run_beside_each_other(process: Callable[[], SharedRun], tmp_path: Path) -> None:
    """Those that don't want it alone."""
    one, other = process(), process()
    with one.machine(alone=False, next_alone=False), other.machine(alone=False, next_alone=True):
        assert not is_free(tmp_path / "machine.lock")
    assert is_free(tmp_path / "machine.lock")
