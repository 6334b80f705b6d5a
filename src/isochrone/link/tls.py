"""What both ends of a link show of themselves and whom they believe, read anew when the files have changed."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from isochrone.config import MeshConfig
from isochrone.errors import ConfigError

log = logging.getLogger(__name__)

_WORDS = {
    2: "its certificate is of another CA",
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is of another CA",
    19: "its certificate is of another CA",
    20: "its certificate is of another CA",
    21: "its certificate is of another CA",
    26: "its certificate is not for this use: a node's and a router's are for servers and clients both",
}
"""OpenSSL's numbers for what is wrong with the other end's certificate (X509_V_ERR_*)."""
_ALERTS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours, and got none",
    "ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "ALERT_UNKNOWN_CA": "it says that our certificate is of another CA",
    "ALERT_BAD_CERTIFICATE": "it says that our certificate is none for it",
    "ALERT_UNSUPPORTED_CERTIFICATE": "it says that our certificate is not for this use",
    "ALERT_PROTOCOL_VERSION": "it speaks no TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS 1.3",
    "WRONG_VERSION_NUMBER": "it speaks no TLS; is mesh_tls configured there?",
    "HTTP_REQUEST": "it speaks HTTP, not TLS",
}


class LinkTls:
    """The contexts of both ends. A link is believed for as long as it lasts: what expires or changes meanwhile counts
    for the next one."""

    def __init__(self, *, certificate: Path, key: Path, ca: Path, name: str) -> None:
        """Every certificate names `name`, among its DNS names. Raises ConfigError for files that can't be used."""
        self.name = name
        self._files = (certificate, key, ca)
        try:
            self._read_at = self._stamp()
            self._contexts = self._made()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"mesh_tls: {certificate}, {key}, {ca}: {error}") from error
        self._troubled = ""

    def __repr__(self) -> str:
        return f"<LinkTls {self._files[0]} for {self.name}>"

    @classmethod
    def of(cls, config: MeshConfig) -> LinkTls | None:
        """As configured; None where links go without."""
        tls = config.mesh_tls
        if tls is None:
            return None
        return cls(certificate=tls.certificate, key=tls.key, ca=tls.ca, name=config.mesh_certificate_name)

    def context(self, *, dialling: bool) -> ssl.SSLContext:
        """For the next connection, of one end or the other. Files that can't be used, as half of a pair while they are
        being replaced, leave it with what it had."""
        try:
            stamp = self._stamp()
            if stamp != self._read_at:
                self._contexts, self._read_at = self._made(), stamp
                log.info("read %s, %s and %s anew", *self._files)
            self._troubled = ""
        except OSError as error:
            if str(error) != self._troubled:
                log.warning("the mesh's certificates stay as they were: %s: %s", self._files[0], error)
                self._troubled = str(error)
        return self._contexts[dialling]

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = [path.stat() for path in self._files]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)

    def _made(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Of the end that listens, and of the one that dials: that one has OpenSSL look for the name."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        certificate, key, ca = self._files
        for context in made:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            # One that the key's owner has to unlock would ask for a password, here and now.
            context.load_cert_chain(certificate, key, password=_no_password)
            context.load_verify_locations(ca)
        made[0].num_tickets = 0  # every link shows its certificates
        return made


def in_words(error: ssl.SSLError, *, name: str) -> str:
    """Why one end of a link won't have the other, of whom "it" speaks."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 63, 64):
            return f"its certificate does not name {name!r}"
        return _WORDS.get(error.verify_code, f"its certificate is not to be believed: {error.verify_message}")
    reason = error.reason or str(error)
    return next((words for part, words in _ALERTS.items() if part in reason), f"TLS: {reason.lower()}")


def _no_password() -> bytes:
    raise ssl.SSLError("the key has a password; a process that starts by itself needs one without")
