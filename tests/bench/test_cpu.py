"""Reading CPU time from /proc."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from bench.cpu import busy_ticks, cpu_ticks, machine_cpu_s, pin, process_cpu_s

STAT = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194304 100 0 0 0 123 45 7 8 20 0 3 0 1000 1 2 3"


def test_user_and_system_time_add_up_whatever_the_name() -> None:
    """A process may be called anything, parentheses and spaces included."""
    assert cpu_ticks(STAT) == 123 + 45


def test_idle_time_is_not_busy_and_guests_count_once() -> None:
    """user nice system idle iowait irq softirq steal guest guest_nice."""
    assert busy_ticks("cpu  10 1 5 1000 50 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n") == 10 + 1 + 5 + 2 + 3 + 4


def test_a_process_is_read_with_all_its_threads(tmp_path: Path) -> None:
    """A thread that has ended has still cost what it cost."""
    before_s = process_cpu_s(os.getpid())
    machine_before_s = machine_cpu_s()

    def spin() -> None:
        until_s = time.thread_time() + 0.2
        while time.thread_time() < until_s:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    thread.join()
    assert process_cpu_s(os.getpid()) - before_s >= 0.18
    assert machine_cpu_s() - machine_before_s >= 0.15
    with pytest.raises(FileNotFoundError):
        process_cpu_s(1, proc=tmp_path)


def test_pinning_keeps_every_thread_on_its_cores() -> None:
    """Threads that exist are moved, later ones inherit."""
    before = os.sched_getaffinity(0)
    one = {min(before)}
    try:
        pin(os.getpid(), one)
        assert all(os.sched_getaffinity(int(task.name)) == one for task in Path("/proc/self/task").iterdir())
    finally:
        pin(os.getpid(), before)
