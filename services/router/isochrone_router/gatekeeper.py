"""Stands before the routes: who calls, in which tier it may, and whether its quota lets it.

All of it is decided at once, from what this router has in memory: no request waits for Redis, or for a file. Who calls
is looked up anew for each request of a session, so that one whose token was taken back is refused from then on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from isochrone.credentials import Credentials, credentials_of
from isochrone.errors import IsochroneError, PermissionDenied
from isochrone.keys import Tier
from isochrone.rpc import Call, Metadata
from isochrone.starting import Chunks, Done, Ended, Leave
from isochrone_router.directory import Caller, Directory
from isochrone_router.lessor import Lessor
from isochrone_router.past import StartTold, Tell
from isochrone_router.slot_lease import SlotLease

NOBODY = ""
"""The caller of a request that nobody known has sent."""

Identify = Callable[[Call], tuple[Call, IsochroneError | None]]
"""Gives the call with its caller and tier, and why it is refused, if it is."""


class Refuse(Protocol):
    """Reports and tells of a request that is refused before it got anywhere, and puts the report on the error."""

    def __call__(self, call: Call, error: IsochroneError, chunks: Chunks | None, *, tell: Tell | None) -> None: ...


class Gatekeeper:
    """A StartTold in front of another."""

    def __init__(self, directory: Directory, lessor: Lessor, *, routes: StartTold, refuse: Refuse) -> None:
        self._directory = directory
        self._lessor = lessor
        self._routes = routes
        self._refuse = refuse
        self.refusals: Counter[tuple[str, str]] = Counter()
        """By caller (NOBODY where it isn't known) and reason."""

    def __repr__(self) -> str:
        return f"<Gatekeeper {self._directory!r}, {self.refusals.total()} refused>"

    def credentials(self, metadata: Metadata, context: Any) -> Credentials:
        """What the peer of an RPC shows. Its certificate costs gRPC 16 µs to tell of: where none is known, none is
        asked for."""
        return credentials_of(metadata, context.auth_context() if self._directory.knows_certificates else {})

    def admit_session(self, shown: Credentials) -> None:
        """Raises Unauthenticated where nobody may open a session with these."""
        found = self._directory.look_up(shown)
        if not isinstance(found, Caller):
            self.refusals[NOBODY, found.reason] += 1
            raise found

    def identify(self, call: Call) -> tuple[Call, IsochroneError | None]:
        """An Identify. Of a call in no tier that there is, the routes themselves say so."""
        call, error = self._known(call)
        if error is not None:
            self.refusals[call.caller, error.reason] += 1
        return call, error

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        """A StartTold. What it takes of its caller's quota for the time it is under way it gives back at its end."""
        call, error = self._known(call)
        slots = None
        if error is None:
            allowance = self._lessor.allowances[call.caller]
            error = self._lessor.take(allowance)
            slots = allowance.slots
        if error is not None:
            self.refusals[call.caller, error.reason] += 1
            self._refuse(call, error, chunks, tell=tell)
            raise error
        if slots is None:
            return self._routes(call, done, chunks, tell=tell)
        held = _Held(slots)
        try:
            leave = self._routes(call, partial(_ended, held, done), chunks, tell=tell)
        except BaseException:
            held.put_back()
            raise
        return partial(_left, held, leave)

    def _known(self, call: Call) -> tuple[Call, IsochroneError | None]:
        found = self._directory.look_up(call.credentials)
        if not isinstance(found, Caller):
            return call._replace(caller=NOBODY), found
        asked = call.tier
        if not asked:
            return call._replace(caller=found.name, tier=found.default_tier), None
        call = call._replace(caller=found.name)
        if asked in found.tiers or asked not in _TIERS:
            return call, None
        may = ", ".join(found.tiers)
        return call, PermissionDenied(f"{found.name} may use {may}, not {asked}", reason="TIER_DENIED")


class _Held:
    """A slot that is put back once."""

    __slots__ = ("_slots",)

    def __init__(self, slots: SlotLease) -> None:
        self._slots: SlotLease | None = slots

    def put_back(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.put_back()


def _ended(held: _Held, done: Done, what: Ended) -> None:
    held.put_back()  # first: whoever is told may ask again at once
    done(what)


def _left(held: _Held, leave: Leave) -> None:
    held.put_back()
    leave()


_TIERS = frozenset(Tier)
