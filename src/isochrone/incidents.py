"""Faults of our own: what happened goes to the log, and the caller gets a number to ask about."""

from __future__ import annotations

import logging
import secrets

from isochrone.errors import Internal, IsochroneError

log = logging.getLogger(__name__)


def incident(what: str, error: BaseException, *, trace_id: str = "") -> IsochroneError:
    """Logs a fault under a new id, which is all that the caller gets to see. `trace_id` is its request's, where it is
    the fault of one."""
    number = secrets.token_hex(8)
    log.error("incident %s: %s", number, what, exc_info=error, extra={"trace_id": trace_id})
    return Internal(number)
