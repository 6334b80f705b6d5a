"""Whether the certificates that a mesh's file names can be used: there, fitting their keys, of their CA, in time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from isochrone import wall
from isochrone.config import MeshConfig, ServerTls
from isochrone.config.load import line_of
from isochrone.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)

SOON = timedelta(days=14)
Key = tuple[str, ...]
"""Where something stands in the configuration: ("router", "tls", "certificate")."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said of a file that the configuration names."""

    key: Key
    words: str
    fatal: bool = True
    """Whether nothing can be served with it."""

    def at(self, config: Path) -> str:
        """With the configuration's file and line."""
        return f"{config}:{line_of(config, self.key)}: {'.'.join(self.key)}: {self.words}"


def check_own(config: MeshConfig, path: Path, servers: Mapping[Key, ServerTls | None]) -> None:
    """What a process looks at before it starts: the certificates of its servers, by their keys, and the mesh's.
    Raises ConfigError for what can't be used, and warns of what soon can't."""
    if config.mesh_tls is None and not any(servers.values()):
        return
    look = _Look(today())
    for key, server in servers.items():
        look.at_server(key, server)
    look.at_mesh(config)
    for finding in look.found:
        if not finding.fatal:
            log.warning("%s", finding.at(path))
    if fatal := [finding.at(path) for finding in look.found if finding.fatal]:
        raise ConfigError("\n".join(fatal))


def findings(config: MeshConfig, *, now: datetime) -> list[Finding]:
    """All there is to say of all certificates of a mesh."""
    look = _Look(now)
    look.at_mesh(config)
    look.at_server(("router", "tls"), config.router.tls)
    look.at_server(("router", "admin_tls"), config.router.admin_tls)
    for group, node in config.nodes.items():
        look.at_server(("nodes", group, "tls"), node.tls)
    return look.found


def today() -> datetime:
    """Now, by the time of day: what certificates go by."""
    return datetime.fromtimestamp(wall.now_ns() / 1e9, UTC)


class _Look:
    """At files, noting what there is to say of them."""

    def __init__(self, now: datetime) -> None:
        self.found: list[Finding] = []
        self._now = now

    def at_server(self, key: Key, tls: ServerTls | None) -> None:
        if tls is None:
            return
        self._pair(key, tls.certificate, tls.key)
        if tls.client_ca is not None:
            self._authorities((*key, "client_ca"), tls.client_ca)

    def at_mesh(self, config: MeshConfig) -> None:
        tls, key = config.mesh_tls, ("mesh_tls", "certificate")
        if tls is None:
            return
        chain = self._pair(key[:1], tls.certificate, tls.key)
        authorities = self._authorities((*key[:1], "ca"), tls.ca)
        if not chain:
            return
        if authorities and not _leads_to(chain, authorities):
            issuer = chain[-1].issuer.rfc4514_string()
            self._say(key, f"{tls.certificate}: is not of the CA in {tls.ca}, but of {issuer!r}")
        name, names = config.mesh_certificate_name, _dns_names(chain[0])
        if name not in names:
            self._say(key, f"{tls.certificate}: names {', '.join(names) or 'no host'}; it should name {name!r}")
        if missing := _missing_uses(chain[0]):
            self._say(key, f"{tls.certificate}: should be for {' and '.join(missing)} as well: links are mutual")

    def _pair(self, key: Key, certificate: Path, private: Path) -> list[Certificate]:
        """Gives the chain, the certificate itself first."""
        chain = self._read((*key, "certificate"), certificate)
        for each in chain:
            self._in_time((*key, "certificate"), certificate, each)
        self._fits((*key, "key"), private, certificate, chain)
        return chain

    def _authorities(self, key: Key, path: Path) -> list[Certificate]:
        authorities = self._read(key, path)
        for each in authorities:
            self._in_time(key, path, each)
        return authorities

    def _read(self, key: Key, path: Path) -> list[Certificate]:
        from cryptography import x509

        try:
            return x509.load_pem_x509_certificates(path.read_bytes())
        except OSError as error:
            self._say(key, f"{path}: can't be read: {error.strerror or error}")
        except ValueError as error:
            self._say(key, f"{path}: holds no certificates in PEM: {_first_line(error)}")
        return []

    def _in_time(self, key: Key, path: Path, certificate: Certificate) -> None:
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if self._now > ends:
            self._say(key, f"{path}: expired on {_date(ends)}, {_days(self._now - ends)} ago")
        elif self._now < begins:
            self._say(key, f"{path}: is valid from {_date(begins)} on, in {_days(begins - self._now)}")
        elif ends - self._now < SOON:
            self._say(key, f"{path}: expires on {_date(ends)}, in {_days(ends - self._now)}", fatal=False)

    def _fits(self, key: Key, path: Path, certificate: Path, chain: list[Certificate]) -> None:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            self._say(key, f"{path}: can't be read: {error.strerror or error}")
        except TypeError:
            self._say(key, f"{path}: has a password; a process that starts by itself needs a key without")
        except (ValueError, UnsupportedAlgorithm) as error:
            self._say(key, f"{path}: holds no key in PEM: {_first_line(error)}")
        else:
            if chain and private.public_key() != chain[0].public_key():
                self._say(key, f"{path}: is not the key of the certificate in {certificate}")

    def _say(self, key: Key, words: str, *, fatal: bool = True) -> None:
        self.found.append(Finding(key, words, fatal))


def _leads_to(chain: list[Certificate], authorities: list[Certificate]) -> bool:
    """Whether each is issued by the next, and one of them by an authority; by signature, not by name alone."""
    for at, certificate in enumerate(chain):
        if any(_issued(certificate, authority) for authority in authorities):
            return True
        if at + 1 == len(chain) or not _issued(certificate, chain[at + 1]):
            return False
    return False


def _issued(certificate: Certificate, by: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _dns_names(certificate: Certificate) -> list[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def _missing_uses(certificate: Certificate) -> list[str]:
    """Of both ends of a link; a certificate that says nothing of uses is for all."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    wanted = {"servers": ExtendedKeyUsageOID.SERVER_AUTH, "clients": ExtendedKeyUsageOID.CLIENT_AUTH}
    return [words for words, use in wanted.items() if use not in uses]


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _days(span: timedelta) -> str:
    if span.days:
        return f"{span.days} day{'s' * (span.days > 1)}"
    hours = int(span.total_seconds() // 3600)
    return f"{hours} hour{'s' * (hours > 1)}" if hours else "less than an hour"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["nothing that can be read"])[0].partition(". See ")[0]
