"""The callers of this router: who they are now, what they may, what they do, and the tasks that keep that current."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

from isochrone import telemetry as t
from isochrone.config import NOT_A_NAME, CallerConfig, MeshConfig
from isochrone.deadline import Clock
from isochrone.quotas import Quotas
from isochrone_router.caller_stats import CallerStats
from isochrone_router.callers_file import CallersFile
from isochrone_router.directory import Directory
from isochrone_router.gatekeeper import NOBODY, Gatekeeper, Refuse
from isochrone_router.lessor import Lessor
from isochrone_router.past import StartTold


class Callers:
    """Made where callers are configured; `stand_before` puts a gatekeeper in front of the routes."""

    def __init__(self, callers: Mapping[str, CallerConfig], file: CallersFile | None, lessor: Lessor, clock: Clock):
        self.directory = Directory(callers)
        self.lessor = lessor
        self.stats = CallerStats(lambda: self.directory.callers)
        self._file = file
        self._clock = clock
        self._gatekeeper: Gatekeeper | None = None
        self._use(callers)

    def __repr__(self) -> str:
        return f"<Callers {self.directory!r}, {self.lessor!r}>"

    @classmethod
    def of(
        cls,
        config: MeshConfig,
        *,
        quotas: Callable[[], Quotas] | None,
        boot: int,
        routers: Callable[[], int],
        clock: Clock,
    ) -> Callers | None:
        """Those of the configuration; None where it has none: then everybody may do everything. A file of callers that
        has none in it lets nobody in. Raises ConfigError."""
        path = config.router.callers_file
        if path is None and not config.callers:
            return None
        file = None if path is None else CallersFile(path, others=config.callers)
        callers = config.callers if file is None else file.callers
        lessor = Lessor(None if quotas is None else quotas(), boot=boot, routers=routers, clock=clock)
        return cls(callers, file, lessor, clock)

    def stand_before(self, routes: StartTold, *, refuse: Refuse) -> Gatekeeper:
        """The one gatekeeper."""
        self._gatekeeper = Gatekeeper(self.directory, self.lessor, routes=routes, refuse=refuse)
        return self._gatekeeper

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs as long as the router does."""
        work = [] if self.lessor.has_nobody_to_ask else [self.lessor.run()]
        return work if self._file is None else [*work, self._file.run(self._use)]

    def read_again(self) -> None:
        """The file, where there is one."""
        if self._file is not None:
            self._file.read_again()

    async def leave(self) -> None:
        """Gives back what was leased."""
        await self.lessor.leave()

    async def close(self) -> None:
        await self.lessor.close()

    def as_json(self) -> list[dict[str, Any]]:
        """What each of them may and does here, for /status."""
        return [self._one(name) for name in self.directory.callers]

    def readings(self) -> Iterator[t.Family]:
        """What is counted of them."""
        requests = [((caller, tier, code), n) for (caller, tier, code), n in list(self.stats.requests.items())]
        yield t.Family(t.CALLER_REQUESTS, requests)
        refusals: dict[tuple[str, str], int] = {}
        for (caller, reason), count in list(self._refusals().items()):
            label = caller if caller in self.directory.callers else NOT_A_NAME
            refusals[label, reason] = refusals.get((label, reason), 0) + count
        yield t.Family(t.CALLER_REFUSALS, list(refusals.items()))
        yield t.Family(
            t.CALLER_QUOTA,
            [
                ((caller, quota), used / limit)
                for caller in self.directory.callers
                for quota, used, limit in self._quotas(caller)
                if limit
            ],
        )

    def _use(self, callers: Mapping[str, CallerConfig]) -> None:
        self.directory.replace(callers)
        self.lessor.use({name: caller.quota for name, caller in self.directory.callers.items()})

    def _refusals(self) -> Mapping[tuple[str, str], int]:
        return {} if self._gatekeeper is None else self._gatekeeper.refusals

    def _quotas(self, caller: str) -> Iterator[tuple[str, float, float]]:
        """Of each quota that it has: its name, what this router uses of it, and all there is for all routers."""
        allowance = self.lessor.allowances[caller]
        if allowance.tokens is not None:
            yield "rate", allowance.used.at(self._clock()), allowance.tokens.rate_per_s
        if allowance.slots is not None:
            yield "concurrency", allowance.slots.in_use, allowance.slots.limit

    def _one(self, name: str) -> dict[str, Any]:
        caller = self.directory.callers[name]
        quotas = {quota: {"used": round(used, 1), "limit": limit} for quota, used, limit in self._quotas(name)}
        return {
            "caller": name,
            "tiers": [str(tier) for tier in caller.tiers],
            "default_tier": str(caller.default_tier),
            "rate_per_s": round(self.lessor.allowances[name].used.at(self._clock()), 1),
            "quotas": quotas,
            "shared": not self.lessor.is_alone,
            "refused": {reason: n for (whose, reason), n in self._refusals().items() if whose == name != NOBODY},
        }
