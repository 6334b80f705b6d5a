"""An event loop whose clock is a number: it jumps to the next timer when there is nothing else to do.

So a test of a ten-second deadline takes a millisecond, and goes the same way each time. What runs on such a loop has
to stay within the process: a socket or a thread would have to wait for real time, which does not pass here.
"""

from __future__ import annotations

import asyncio
import functools
import random
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

START_S = 1000.0
"""No moment is 0: that stands for one that never came."""
LEAST_S = 2e-9
"""The shortest wait. The rest that rounding leaves over would not move the clock, and who waits for it never end."""
HORIZON_S = 3600.0
"""A test that is still waiting after so long a virtual time waits for something that never comes."""


class NothingLeft(RuntimeError):
    """What the test awaits will never come: nothing is left that could happen, or only clockwork."""


class VirtualClock:
    """Seconds that pass only when the loop has nothing to do, or when told to. A `Clock` for all the mesh."""

    def __init__(self) -> None:
        self._now_s = START_S

    def __call__(self) -> float:
        return self._now_s

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now_s - START_S:.6f} s after the start>"

    def advance(self, seconds: float) -> None:
        """Lets time pass while nothing else happens.

        In a model's forward call, that is how long it takes: only its caller waits for it. Anywhere else the whole
        process stands still for so long. To let time pass in which things go on, `await asyncio.sleep(seconds)`.
        """
        if seconds < 0:
            raise ValueError(f"time does not run backwards: advance({seconds})")
        self._now_s += seconds

    def _return_to(self, now_s: float) -> None:
        self._now_s = now_s


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on a VirtualClock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        super().__init__(_Jumping(self.clock))

    def time(self) -> float:
        return self.clock()

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_later(max(delay, LEAST_S) if delay > 0 else delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Calls `func` at once, in this thread; its result comes after the time by which it advanced the clock."""
        future: asyncio.Future[_T] = self.create_future()
        began_s = self.clock()
        settle: Callable[[], None]
        try:
            settle = functools.partial(future.set_result, func(*args))
        except Exception as error:
            settle = functools.partial(future.set_exception, error)
        ended_s = self.clock()
        self.clock._return_to(began_s)
        self.call_at(ended_s, lambda: None if future.done() else settle())
        return future


class _Jumping(selectors.DefaultSelector):
    """Where the loop would wait for a timer, time jumps to it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            if len(self.get_map()) > 1:  # besides the loop's own wake-up pipe
                return super().select(None)
            raise NothingLeft("nothing is left that could happen; what is awaited will never come")
        self._clock.advance(timeout)
        if self._clock() > START_S + HORIZON_S:
            raise NothingLeft(f"after {HORIZON_S:.0f} s of virtual time, what is awaited has not come")
        return ready


def virtual_clock() -> VirtualClock:
    """The clock of the loop that this runs on. Raises RuntimeError where that is not a virtual one."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("this needs virtual time: decorate the test with @virtual_time")
    return loop.clock


def virtual_time(test: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, _T]:
    """Makes a plain function of an async one, usually a test, that runs in virtual time and always the same way."""

    @functools.wraps(test)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        dice = random.getstate()
        random.seed(0)
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                return runner.run(test(*args, **kwargs))
        finally:
            random.setstate(dice)

    return run
