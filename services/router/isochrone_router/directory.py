"""Whom this router knows as a caller, by what they show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isochrone.config import CallerConfig
from isochrone.credentials import ANONYMOUS, Credentials
from isochrone.errors import Unauthenticated
from isochrone.keys import Tier
from isochrone_router.allowance import Quota


@dataclass(frozen=True, slots=True)
class Caller:
    """One that is configured."""

    name: str
    tiers: tuple[Tier, ...]
    default_tier: Tier
    quota: Quota


class Directory:
    """Callers by token and certificate. What was once known and no longer is, is remembered as revoked for as long as
    the process runs."""

    def __init__(self, callers: Mapping[str, CallerConfig]) -> None:
        self.callers: dict[str, Caller] = {}
        self._by_token: dict[str, Caller] = {}
        self._by_certificate: dict[str, Caller] = {}
        self._revoked: set[str] = set()
        self.replace(callers)

    def __repr__(self) -> str:
        return f"<Directory of {', '.join(self.callers) or 'nobody'}>"

    def replace(self, callers: Mapping[str, CallerConfig]) -> None:
        """From now on these are known, and no others."""
        before = {*self._by_token, *self._by_certificate}
        self.callers = {name: _caller(name, config) for name, config in callers.items()}
        self._by_token = {token: self.callers[name] for name, config in callers.items() for token in config.tokens}
        self._by_certificate = {
            certificate: self.callers[name] for name, config in callers.items() for certificate in config.certificates
        }
        now = {*self._by_token, *self._by_certificate}
        self._revoked = (self._revoked | before) - now

    @property
    def knows_certificates(self) -> bool:
        """Whether anybody is known by one, or was."""
        return bool(self._by_certificate or self._revoked)

    def look_up(self, shown: Credentials) -> Caller | Unauthenticated:
        """Who that is. A token goes before a certificate; a certificate that names nobody is as good as none."""
        if shown.malformed:
            told = f"authorization should be 'Bearer TOKEN': {shown.malformed}"
            return Unauthenticated(told, reason="MALFORMED_TOKEN")
        if shown.token_hash:
            return self._by_token.get(shown.token_hash) or self._nobody(shown.token_hash, "token")
        for name in shown.names:
            caller = self._by_certificate.get(name)
            if caller is not None:
                return caller
        for name in shown.names:
            if name in self._revoked:
                return self._nobody(name, "certificate")
        anonymous = self.callers.get(ANONYMOUS)
        if anonymous is not None:
            return anonymous
        if shown.names:
            return self._nobody(shown.names[0], "certificate")
        told = "callers are known here by a token or a client certificate, and neither was shown"
        return Unauthenticated(told, reason="NO_CREDENTIALS")

    def _nobody(self, shown: str, what: str) -> Unauthenticated:
        if shown in self._revoked:
            return Unauthenticated(f"the {what} is no longer taken", reason="REVOKED")
        return Unauthenticated(f"nobody here has this {what}", reason="UNKNOWN_CALLER")


def _caller(name: str, config: CallerConfig) -> Caller:
    quota = Quota(config.rate_per_s, config.burst_tokens, config.concurrency)
    return Caller(name, config.tiers, config.usual_tier, quota)
