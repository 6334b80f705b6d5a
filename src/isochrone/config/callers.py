"""Who may call the mesh: how callers are known, the tiers they may use, and their quotas."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from isochrone.config.fields import Name, Section
from isochrone.credentials import ANONYMOUS
from isochrone.keys import Tier

NOT_A_NAME = "other"
"""What metrics call those that nobody knows."""

LEAST_BURST_S = 0.1

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def _hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise ValueError(
            "should be a token's hash as `isochrone token` prints it, sha256: and 64 hex digits; the token itself is "
            "for its caller alone"
        )
    return value


TokenHash = Annotated[str, AfterValidator(_hash)]
"""As `isochrone token` prints it."""


class CallerConfig(Section):
    """A caller: one backend, team or customer, however many clients it has."""

    tokens: tuple[TokenHash, ...] = ()
    """Hashes of the bearer tokens it may show. Two, while one takes the place of the other."""
    certificates: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Names in the client certificates that it may show: a DNS name or URI among their alternative names, or their
    common name."""
    tiers: tuple[Tier, ...] = Field(default=(Tier.STANDARD, Tier.BATCH), min_length=1)
    """Those it may ask for. Gold is to be given on purpose."""
    default_tier: Tier | None = None
    """Where it asks for none. Unset: standard where it may use that, else the first of its tiers."""
    rate_per_s: float | None = Field(default=None, ge=0, le=1e6, allow_inf_nan=False)
    """Requests a second, of all routers together; legs of a fan-out one by one. 0: none at all. Unset: no limit."""
    burst: int | None = Field(default=None, ge=1, le=10_000_000)
    """The most at once after a pause. Unset: what the rate gives in a second. At the least it is what the rate gives in
    a tenth of one: routers settle with each other every some hundredths."""
    concurrency: int | None = Field(default=None, ge=0, le=1_000_000)
    """Requests under way at once, in all routers together. 0: none at all. Unset: no limit."""

    @property
    def usual_tier(self) -> Tier:
        """Its default tier."""
        if self.default_tier is not None:
            return self.default_tier
        return Tier.STANDARD if Tier.STANDARD in self.tiers else self.tiers[0]

    @property
    def burst_tokens(self) -> int:
        """The most at once after a pause, by its rate where it says nothing of it."""
        rate_per_s = self.rate_per_s or 0.0
        return max(1, self.burst or math.ceil(rate_per_s), math.ceil(rate_per_s * LEAST_BURST_S))

    @model_validator(mode="after")
    def _default_among_its_tiers(self) -> CallerConfig:
        if self.usual_tier not in self.tiers:
            raise ValueError(f"default_tier {self.usual_tier} should be one of its tiers: {', '.join(self.tiers)}")
        return self

    @model_validator(mode="after")
    def _burst_of_a_rate(self) -> CallerConfig:
        if self.burst is not None and self.rate_per_s is None:
            raise ValueError("burst goes with rate_per_s")
        return self


class CallersConfig(Section):
    """A file of callers by itself (`router.callers_file`): the same section as in the mesh's file."""

    callers: dict[Name, CallerConfig]

    @model_validator(mode="after")
    def _told_apart(self) -> CallersConfig:
        refuse_doubles(self.callers)
        return self


def refuse_doubles(callers: Mapping[str, CallerConfig]) -> None:
    """Raises ValueError where two callers would be taken for one another, or one for nobody."""
    if NOT_A_NAME in callers:
        raise ValueError(f"callers: {NOT_A_NAME!r} stands for those that nobody knows; give it another name")
    anonymous = callers.get(ANONYMOUS)
    if anonymous is not None and (anonymous.tokens or anonymous.certificates):
        raise ValueError(f"callers: {ANONYMOUS!r} is whoever comes without credentials: it has no token or certificate")
    owners: dict[str, str] = {}
    for name, caller in callers.items():
        for kind, shown in (("token", caller.tokens), ("certificate", caller.certificates)):
            for one in shown:
                owner = owners.setdefault(f"{kind} {one}", name)
                if owner != name:
                    raise ValueError(f"callers: {owner} and {name} have the same {kind}, {one}")
        if name != ANONYMOUS and not caller.tokens and not caller.certificates:
            raise ValueError(f"callers: {name} has neither tokens nor certificates to be known by")
