"""TLS of the admin port: each connection is taken with the certificates that the files hold when it comes."""

from __future__ import annotations

import logging
import ssl
from typing import Any

from isochrone.config import ServerTls
from isochrone.errors import ConfigError

log = logging.getLogger(__name__)


class AdminTls(ssl.SSLContext):
    """An SSLContext that leaves each connection to one made of the files as they are: event loops take nothing else,
    and ask it for nothing but `wrap_bio`. Files that can't be used, as half of a pair, leave it with what it had."""

    def __new__(cls, _: ServerTls) -> AdminTls:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, tls: ServerTls) -> None:
        """Raises ConfigError for files that can't be used."""
        self._tls = tls
        self._paths = [path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None]
        self._troubled = ""
        try:
            self._read_at = self._stamp()
            self._current = self._made()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(f"router.admin_tls: {tls.certificate}, {tls.key}: {error}") from error

    def __repr__(self) -> str:
        return f"<AdminTls {self._tls.certificate}, clients' certificates {self._tls.clients}>"

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """Of the next connection."""
        try:
            stamp = self._stamp()
            if stamp != self._read_at:
                self._current, self._read_at = self._made(), stamp
                log.info("read %s anew", ", ".join(map(str, self._paths)))
            self._troubled = ""
        except OSError as error:
            if str(error) != self._troubled:
                log.warning("the admin port's certificate stays as it was: %s: %s", self._tls.certificate, error)
                self._troubled = str(error)
        return self._current.wrap_bio(*arguments, **more)

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = [path.stat() for path in self._paths]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found)

    def _made(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.load_cert_chain(self._tls.certificate, self._tls.key, password=lambda: b"")
        if self._tls.client_ca is not None:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self._tls.client_ca)
        return made
