"""TLS of a client: whom it believes, and the certificate that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from isochrone.errors import ConfigError

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files are PEM. They are read again for a new connection when they have changed."""

    ca: Path | str | None = None
    """Whom the client believes; None: the CAs that gRPC comes with, or those of GRPC_DEFAULT_SSL_ROOTS_FILE_PATH."""
    certificate: Path | str | None = None
    """What the client shows where it is asked (mTLS), with those between it and its CA after it."""
    key: Path | str | None = None
    name: str | None = None
    """What the server's certificate should name, where that isn't the host of the target."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key come together")

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Tls | None:
        """Of ISOCHRONE_CA (a file, or "system"), ISOCHRONE_CERTIFICATE, ISOCHRONE_KEY and ISOCHRONE_SERVER_NAME. None
        where none of them is set."""
        names = ("CA", "CERTIFICATE", "KEY", "SERVER_NAME")
        ca, certificate, key, name = (environment.get(f"ISOCHRONE_{each}") or None for each in names)
        return cls.given(ca=ca, certificate=certificate, key=key, name=name)

    @classmethod
    def given(cls, *, ca: str | None, certificate: str | None, key: str | None, name: str | None) -> Tls | None:
        """Of a command's options: None where none of them is given. Raises ConfigError."""
        if not any((ca, certificate, key, name)):
            return None
        try:
            return cls(None if ca == "system" else ca, certificate, key, name)
        except ValueError as error:
            raise ConfigError(f"TLS: {error}") from error

    def credentials(self) -> Credentials:
        """Gives gRPC's for the next channel. Raises ConfigError for files that can't be used now; afterwards, ones
        that can't be are left at what they were."""
        return Credentials(self)


class Credentials:
    """Reads the files of a Tls, and again when they have changed."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._paths = [Path(path) for path in (tls.ca, tls.certificate, tls.key) if path is not None]
        try:
            self._stamp = self._seen()
            self._made = self._read()
        except OSError as error:  # ssl.SSLError is one
            told = ", ".join(map(str, self._paths))
            raise ConfigError(f"TLS: {told}: {error}") from error

    def __call__(self) -> grpc.ChannelCredentials:
        with suppress(OSError):  # half of a pair that is being replaced
            stamp = self._seen()
            if stamp != self._stamp:
                self._made, self._stamp = self._read(), stamp
        return self._made

    @property
    def shown(self) -> tuple[Path | None, Path | None]:
        """The certificate that is shown, and its key."""
        certificate, key = self._tls.certificate, self._tls.key
        return None if certificate is None else Path(certificate), None if key is None else Path(key)

    def _read(self) -> grpc.ChannelCredentials:
        import ssl

        tls = self._tls
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # says what is wrong, where gRPC only fails
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
        if tls.certificate is not None and tls.key is not None:
            context.load_cert_chain(tls.certificate, tls.key, password=lambda: b"")
        files = (tls.ca, tls.key, tls.certificate)
        return grpc.ssl_channel_credentials(*(None if path is None else Path(path).read_bytes() for path in files))

    def _seen(self) -> Stamp:
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in self._paths))
