"""A private CA and certificates of it: for a laptop, for tests, and for a mesh that has no CA of its own yet."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isochrone.errors import ConfigError

_SKEW = timedelta(minutes=5)
"""By which the clocks of two machines may differ when a certificate is new."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its certificate, and the key with which it signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def made(cls, name: str, *, now: datetime, lifetime: timedelta) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        builder = (
            _builder(subject, subject, key, begins=now - _SKEW, ends=now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Authority:
        """One that `write` has written. Raises ConfigError."""
        try:
            read = load_pem_private_key(key.read_bytes(), password=None)
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{certificate}, {key}: no CA of ours: {error}") from error
        if not isinstance(read, ec.EllipticCurvePrivateKey) or read.public_key() != found.public_key():
            raise ConfigError(f"{key}: is not the key of {certificate}")
        return cls(found, read)

    def issue(
        self, name: str, hosts: Sequence[str], *, begins: datetime, lifetime: timedelta
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """A certificate for servers and clients both, with that common name, for those names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_named(name), self.certificate.subject, key, begins=begins - _SKEW, ends=begins + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([*map(_host, hosts)]), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key


def write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """As `name`.crt and `name`.key, each in one step in place of what was there; the key for its owner alone."""
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _replace(folder / f"{name}.key", secret, mode=0o600)
    _replace(folder / f"{name}.crt", certificate.public_bytes(Encoding.PEM), mode=0o644)


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    new.replace(path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
