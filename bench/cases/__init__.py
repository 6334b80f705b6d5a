"""The cases of the benchmark, by name, in the order in which they run."""

from collections.abc import Awaitable, Callable

from bench.cases import (
    bursty,
    collector,
    echo,
    fanout,
    flood,
    llm,
    machinery,
    overload,
    photos,
    planning,
    pool,
    rank1,
    rank64,
    session,
    simulated,
    slownode,
    telling,
    twonodes,
)
from bench.result import CaseResult
from bench.runner import Runner

CASES: dict[str, Callable[[Runner], Awaitable[CaseResult]]] = {
    "echo": echo.run,
    "rank1": rank1.run,
    "rank64": rank64.run,
    "session": session.run,
    "flood": flood.run,
    "fanout": fanout.run,
    "llm": llm.run,
    "photos": photos.run,
    "telling": telling.run,
    "collector": collector.run,
    "twonodes": twonodes.run,
    "machinery": machinery.run,
    "planning": planning.run,
    "overload": overload.run,
    "bursty": bursty.run,
    "pool": pool.run,
    "slownode": slownode.run,
    "simulated": simulated.run,
}
