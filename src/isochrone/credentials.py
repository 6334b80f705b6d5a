"""What a caller shows of who it is: a bearer token, a client certificate, both or nothing. And the tokens themselves.

Tokens are 256 random bits, so a plain SHA-256 of one is enough to keep in a file: there is nothing to guess, and
nothing that a salt or a slow hash would protect. One is looked up by its hash, which tells an attacker who measures
the time of it nothing about the token. Neither is ever logged.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

ANONYMOUS = "anonymous"
"""Who comes without credentials, where that is allowed; everybody, where no callers are configured."""
AUTHORIZATION = "authorization"
"""The metadata that a token comes in, "Bearer TOKEN" (RFC 6750)."""
LONGEST_TOKEN = 512
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{1,{LONGEST_TOKEN}}}={{0,2}}", re.ASCII)
_PREFIX = "iso_"
"""By it, those who look for secrets in the wrong places know one when they see it."""
_ALTERNATIVE, _COMMON = "x509_subject_alternative_name", "x509_common_name"


class Credentials(NamedTuple):
    """What came with an RPC."""

    token_hash: str = ""
    """ "sha256:…" of the token; empty where there was none, or none that could be one."""
    malformed: str = ""
    """What is wrong with the authorization that it sent. It never has the token in it."""
    names: tuple[str, ...] = ()
    """In the client's certificate, which has been verified: alternative names, then the common name."""

    def __repr__(self) -> str:
        shown = [what for what, there in (("a token", self.token_hash), ("not a token", self.malformed)) if there]
        return f"<Credentials {', '.join((*shown, *self.names)) or 'none'}>"


NONE = Credentials()


def new_token() -> str:
    """A token that nobody has."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """As the configuration has it."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def could_be_token(text: str) -> bool:
    """Whether it can be sent as a token at all."""
    return len(text) <= LONGEST_TOKEN and _TOKEN.fullmatch(text) is not None


def why_no_token(text: str) -> str:
    """What is wrong with what can't be sent as one, without any of it: it may be a token all the same."""
    if not text:
        return "it is empty"
    if text != text.strip():
        return "there is white space before or after it"
    if text.startswith("sha256:"):
        return "that is a token's hash, which is for the configuration; callers show the token itself"
    if text.lower().startswith("bearer "):
        return "the token alone is wanted; Bearer is put before it"
    if len(text) > LONGEST_TOKEN:
        return f"it has {len(text)} characters, over {LONGEST_TOKEN}"
    return "a token, as `isochrone token` makes them, has letters, digits and -._~+/ alone"


def credentials_of(metadata: Iterable[tuple[str, Any]], peer: Mapping[str, Iterable[bytes]]) -> Credentials:
    """`peer` is what gRPC says of the other end (its auth context): it has names where a certificate was verified."""
    given = [value for key, value in metadata if key == AUTHORIZATION]
    names = [name.decode("utf-8", "replace") for key in (_ALTERNATIVE, _COMMON) for name in peer.get(key) or ()]
    if not given:
        return Credentials(names=tuple(names)) if names else NONE
    if len(given) > 1:
        return Credentials(malformed=f"there are {len(given)} of them", names=tuple(names))
    scheme, _, token = str(given[0]).partition(" ")
    if scheme.lower() != "bearer":
        return Credentials(malformed="its scheme is not Bearer", names=tuple(names))
    token = token.strip(" ")
    if not could_be_token(token):
        told = f"what follows Bearer, {len(token)} characters, is no token" if token else "nothing follows Bearer"
        return Credentials(malformed=told, names=tuple(names))
    return Credentials(hash_of(token), names=tuple(names))
