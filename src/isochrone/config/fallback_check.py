"""What is wrong with the fallbacks of routes as a whole: cycles, routes that aren't there, answers of another type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from isochrone.config.fallback import FallbackConfig
from isochrone.config.route import RouteConfig
from isochrone.config.static_answer import answers_of
from isochrone.methods import known, streams

Place = tuple[str | int, ...]
"""Of a key in the file: ("routes", "isochrone.v1.Recsys/Rank", "fallback", 0, "route")."""


def problems(routes: Mapping[str, RouteConfig]) -> Iterator[tuple[Place, str, Any]]:
    """Where something is wrong, what, and what was given there."""
    for name, route in routes.items():
        for number, way in enumerate(route.fallback):
            place: Place = ("routes", name, "fallback", number)
            if way.static is not None:
                try:
                    answers_of(name, way.static)
                except ValueError as error:
                    yield (*place, "static"), str(error), way.static.model_dump(exclude_unset=True)
            elif streams(name):
                source = "last_good" if way.route is None else "route"
                yield (*place, source), f"the answer of {name} streams: only a static one can stand in for it", name
            elif way.route is not None:
                wrong = _other(name, way, routes)
                if wrong:
                    yield (*place, "route"), wrong, way.route
    for cycle in _cycles(routes):
        number = next(n for n, way in enumerate(routes[cycle[0]].fallback) if way.route == cycle[1])
        told = f"routes fall back on each other: {' → '.join(cycle)}"
        yield ("routes", cycle[0], "fallback", number, "route"), told, cycle[1]


def _other(name: str, way: FallbackConfig, routes: Mapping[str, RouteConfig]) -> str:
    """Why another route can't stand in; empty where it can."""
    assert way.route is not None
    if way.route not in routes:
        return f"there is no such route; there is {', '.join(sorted(routes))}"
    if streams(way.route):
        return f"the answer of {way.route} streams, and that of {name} doesn't"
    method, other = known(name), known(way.route)
    if method is None or other is None:
        return ""  # nobody here can tell
    if method.input_type.full_name != other.input_type.full_name:
        return f"takes a {other.input_type.full_name}; {name} takes a {method.input_type.full_name}"
    if method.output_type.full_name != other.output_type.full_name:
        return f"answers with a {other.output_type.full_name}; {name} with a {method.output_type.full_name}"
    return ""


def _cycles(routes: Mapping[str, RouteConfig]) -> Iterator[list[str]]:
    """Each cycle that is found, from the first route of it in the file and back to that."""
    over: set[str] = set()

    def follow(way: list[str]) -> Iterator[list[str]]:
        for fallback in routes[way[-1]].fallback:
            other = fallback.route
            if other is None or other not in routes or other in over:
                continue
            if other in way:
                yield [*way[way.index(other) :], other]
            else:
                yield from follow([*way, other])
        over.add(way[-1])

    for name in routes:
        if name not in over:
            yield from follow([name])
