"""Which services are installed here, and what they say of their own options."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from isochrone.errors import ConfigError
from isochrone.stack import SERVICES, service_module


def settings_of(service: str) -> ModuleType | None:
    """A service's `settings` module; None where it has none. It may offer `options_of(node)`, which raises ConfigError,
    and `at_best_ms(node)`. Raises ConfigError where the service isn't installed."""
    module = service_module(service)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        known = ", ".join(SERVICES)
        raise ConfigError(f"service: no module {module!r} is installed; known: {known}, or a module's dotted name")
    if spec.submodule_search_locations is not None and find_spec(f"{module}.settings"):
        return import_module(f"{module}.settings")
    return None
