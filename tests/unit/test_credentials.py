"""What callers show, and whom a router takes them for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from isochrone.config import CallerConfig
from isochrone.credentials import (
    LONGEST_TOKEN,
    NONE,
    Credentials,
    could_be_token,
    credentials_of,
    hash_of,
    new_token,
)
from isochrone.errors import Unauthenticated
from isochrone.keys import Tier
from isochrone_router.allowance import Quota
from isochrone_router.directory import Caller, Directory

TOKEN, OTHER = new_token(), new_token()
PEER = {
    "x509_common_name": [b"backend"],
    "x509_subject_alternative_name": [b"shop.internal", b"spiffe://shop/web"],
    "transport_security_type": [b"ssl"],
}


def shown(*authorization: str, peer: Mapping[str, Iterable[bytes]] | None = None) -> Credentials:
    return credentials_of([("authorization", one) for one in authorization], peer or {})


def test_a_token_is_known_by_its_hash() -> None:
    """Which is what the configuration has, and tells nothing about it."""
    assert re.fullmatch(r"iso_[\w-]{43}", TOKEN)
    assert hash_of(TOKEN) != hash_of(OTHER)
    assert CallerConfig(tokens=(hash_of(TOKEN),)).tokens == (hash_of(TOKEN),)
    credentials = shown(f"Bearer {TOKEN}")
    assert credentials == Credentials(hash_of(TOKEN))
    assert TOKEN not in repr(credentials)
    assert repr(credentials) == "<Credentials a token>"


def test_every_new_token_can_be_sent() -> None:
    """Whatever its bits are."""
    assert all(could_be_token(new_token()) for _ in range(500))


@given(st.text())
def test_whatever_is_sent_is_a_token_or_malformed(text: str) -> None:
    """Nothing raises, and what is wrong with it doesn't repeat it."""
    credentials = shown(text)
    assert bool(credentials.token_hash) != bool(credentials.malformed)
    if len(text) > 30:
        assert text not in credentials.malformed


def test_longer_tokens_are_none() -> None:
    """Before they are hashed or compared."""
    assert shown("Bearer " + "x" * LONGEST_TOKEN).token_hash
    assert shown("Bearer " + "x" * (LONGEST_TOKEN + 1)).malformed


def test_a_certificate_has_several_names() -> None:
    """Alternative ones first, and nothing where none was verified."""
    assert shown(peer=PEER).names == ("shop.internal", "spiffe://shop/web", "backend")
    assert shown(peer={"transport_security_type": [b"ssl"]}) is NONE
    assert shown(f"Bearer {TOKEN}", peer=PEER) == Credentials(
        hash_of(TOKEN), names=("shop.internal", "spiffe://shop/web", "backend")
    )


def directory(**callers: dict[str, Any]) -> Directory:
    return Directory({name: CallerConfig.model_validate(config) for name, config in callers.items()})


def told(found: Caller | Unauthenticated) -> str:
    return found.name if isinstance(found, Caller) else found.reason


def test_a_caller_is_known_by_any_of_its_tokens_or_names() -> None:
    """A token goes before a certificate, be it good or not; a certificate that names nobody is as good as none."""
    known = directory(
        shop={"tokens": [hash_of(TOKEN), hash_of(OTHER)]}, web={"certificates": ["spiffe://shop/web"], "rate_per_s": 5}
    )
    assert told(known.look_up(shown(f"Bearer {TOKEN}"))) == "shop"
    assert told(known.look_up(shown(f"Bearer {OTHER}"))) == "shop"
    assert told(known.look_up(shown(peer=PEER))) == "web"
    assert told(known.look_up(shown(f"Bearer {TOKEN}", peer=PEER))) == "shop"
    assert told(known.look_up(shown(f"Bearer {new_token()}", peer=PEER))) == "UNKNOWN_CALLER"
    assert told(known.look_up(shown("Bearer", peer=PEER))) == "MALFORMED_TOKEN"
    assert told(known.look_up(shown(peer={"x509_common_name": [b"web"]}))) == "UNKNOWN_CALLER"
    assert told(known.look_up(NONE)) == "NO_CREDENTIALS"
    found = known.look_up(shown(peer=PEER))
    assert isinstance(found, Caller)
    assert (found.tiers, found.default_tier) == ((Tier.STANDARD, Tier.BATCH), Tier.STANDARD)
    assert found.quota == Quota(5.0, 5, None)


def test_anonymous_callers_show_nothing_or_an_unknown_certificate() -> None:
    """A token that is none isn't nothing."""
    known = directory(anonymous={}, shop={"tokens": [hash_of(TOKEN)]})
    assert told(known.look_up(NONE)) == "anonymous"
    assert told(known.look_up(shown(peer=PEER))) == "anonymous"
    assert told(known.look_up(shown(f"Bearer {new_token()}"))) == "UNKNOWN_CALLER"
    assert told(known.look_up(shown("Basic x"))) == "MALFORMED_TOKEN"


def test_what_is_taken_back_is_revoked() -> None:
    """Until it is given again; by whomever."""
    both = {"tokens": [hash_of(TOKEN)], "certificates": ["backend"]}
    known = directory(anonymous={}, shop=both)
    known.replace({"anonymous": CallerConfig()})
    assert told(known.look_up(shown(f"Bearer {TOKEN}"))) == "REVOKED"
    assert told(known.look_up(shown(peer=PEER))) == "REVOKED"
    known.replace({"web": CallerConfig.model_validate(both)})
    assert told(known.look_up(shown(f"Bearer {TOKEN}"))) == "web"
    assert told(known.look_up(NONE)) == "NO_CREDENTIALS"
