"""What devices cost, and what each tier gets of them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from isochrone.config.fields import Section
from isochrone.keys import Tier

CPU = "cpu"
CPU_COST, OTHER_COST = 1.0, 10.0
"""Per hour, where nothing is configured: CPU first."""
SHARES: Mapping[Tier, float] = {Tier.GOLD: 0.3, Tier.STANDARD: 0.2, Tier.BATCH: 0.05}


EMULATED = "emulated-"
"""What the names of device classes begin with that are emulated, so that nobody takes them for others."""


def is_emulated(device: str) -> bool:
    """Whether a device class is one in name only: toys there take as long as they are told to."""
    return device.startswith(EMULATED)


class DeviceConfig(Section):
    """A device class: what one node of it costs."""

    cost_per_hour: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    """In any currency, the same for all of them."""
    watts: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    """What it draws while it computes."""
