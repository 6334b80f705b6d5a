"""TLS of the gRPC servers: certificates that are read again when their files have changed, and who must show one."""

from __future__ import annotations

import logging
import ssl

import grpc

from isochrone.config import ServerTls
from isochrone.errors import ConfigError

log = logging.getLogger(__name__)


def server_credentials(tls: ServerTls | None, listen: str, *, key: str) -> grpc.ServerCredentials | None:
    """For a server that listens there; None where it goes without. Unix sockets do: the kernel guards them.
    `key` is that of the configuration. Raises ConfigError for files that can't be used."""
    if tls is None or listen.startswith("unix:"):
        return None
    files = _Files(tls)
    try:
        first = files.read()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{key}: {tls.certificate}, {tls.key}: {error}") from error
    # gRPC asks before each handshake; what it gets None for stays as it is.
    return grpc.dynamic_ssl_server_credentials(
        first,
        files.changed,  # type: ignore[arg-type]  # the stubs know nothing of None
        require_client_authentication=tls.clients == "required",
    )


class _Files:
    """A server's certificate, key and callers' CA."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._paths = [path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None]
        self._stamp: object = None
        self._troubled = ""

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Raises OSError where they can't be had, or don't fit each other."""
        self._stamp, tls = self._seen(), self._tls
        # gRPC would say of a pair that doesn't fit only that no handshake succeeds.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
        if tls.client_ca is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(tls.client_ca)
        return grpc.ssl_server_certificate_configuration(
            [(tls.key.read_bytes(), tls.certificate.read_bytes())],
            None if tls.client_ca is None else tls.client_ca.read_bytes(),
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What they are now, where they have changed; None, too, for what can't be used. Called on gRPC's threads."""
        try:
            if self._seen() == self._stamp:
                return None
            found = self.read()
        except OSError as error:
            self._stamp = None
            if str(error) != self._troubled:
                log.warning("the certificate stays as it was: %s: %s", self._tls.certificate, error)
                self._troubled = str(error)
            return None
        self._troubled = ""
        log.info("read %s anew", ", ".join(map(str, self._paths)))
        return found

    def _seen(self) -> object:
        found = [path.stat() for path in self._paths]
        return [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in found]
