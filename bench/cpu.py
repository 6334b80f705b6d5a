"""CPU time of processes and of the machine, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def process_cpu_s(pid: int, proc: Path = Path("/proc")) -> float:
    """Seconds of CPU that a process has used, user and system, with all its threads, ended ones too.

    To 10 ms: measure over seconds. Raises FileNotFoundError once the process is gone.
    """
    return cpu_ticks((proc / str(pid) / "stat").read_text()) * _TICK_S


def machine_cpu_s(proc: Path = Path("/proc")) -> float:
    """Seconds that all cores together were busy since boot, with what a hypervisor took from them."""
    return busy_ticks((proc / "stat").read_text()) * _TICK_S


def stolen_cpu_s(proc: Path = Path("/proc")) -> float:
    """Seconds since boot, of all cores together, that a hypervisor gave to others while something here had to run."""
    return int((proc / "stat").read_text().split("\n", 1)[0].split()[8]) * _TICK_S


def cpu_ticks(stat: str) -> int:
    """utime + stime of a /proc/<pid>/stat, proc(5). The name in parentheses may hold anything, ")" too."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def busy_ticks(stat: str) -> int:
    """The first line of /proc/stat without idle and iowait; guests are counted in user already."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.split("\n", 1)[0].split()[1:9])
    return user + nice + system + irq + softirq + steal


def pin(pid: int, cores: set[int], proc: Path = Path("/proc")) -> None:
    """Keeps a process, every thread of it, on some cores. Threads that it starts later inherit that."""
    for task in (proc / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
