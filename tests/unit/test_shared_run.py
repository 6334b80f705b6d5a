"""SharedRun: tests in several processes, of which some want the machine for themselves."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from threading import Thread

from harness.shared_run import SharedRun


def is_free(lock: Path) -> bool:
    """Whether anybody else could have it, alone."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_who_wants_the_machine_alone_comes_next(tmp_path: Path) -> None:
    """Once those have ended that run already; who comes later waits for it to end as well."""
    one, alone, other = (SharedRun(tmp_path) for _ in range(3))
    came: list[str] = []

    def run(process: SharedRun, *, wants_alone: bool) -> Thread:
        def test() -> None:
            with process.machine(alone=wants_alone, next_alone=False):
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


def test_nobody_comes_in_between_two_that_want_it_alone(tmp_path: Path) -> None:
    """Others would have to be waited for again."""
    process = SharedRun(tmp_path)
    for next_alone in (True, False):
        with process.machine(alone=True, next_alone=next_alone):
            assert not is_free(tmp_path / "machine.lock")
        assert is_free(tmp_path / "machine.lock") != next_alone


def test_tests_run_beside_each_other(tmp_path: Path) -> None:
    """Those that don't want it alone."""
    one, other = SharedRun(tmp_path), SharedRun(tmp_path)
    with one.machine(alone=False, next_alone=False), other.machine(alone=False, next_alone=True):
        assert not is_free(tmp_path / "machine.lock")
    assert is_free(tmp_path / "machine.lock")
