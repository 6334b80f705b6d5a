"""What went wrong with TLS, in words: where a server won't have a client's certificate, gRPC says "Socket closed"."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from isochrone import wall

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""
_OF_SERVER = {
    "unable to get local issuer certificate": "its certificate is not of the CA that is believed here",
    "self signed certificate": "its certificate is not of the CA that is believed here",
    "self-signed certificate": "its certificate is not of the CA that is believed here",
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet",
    "Hostname Verification Check failed": "its certificate doesn't name the host that was dialled",
    "WRONG_VERSION_NUMBER": "it speaks no TLS",
}


def in_words(details: str, *, secure: bool, certificate: Path | None, key: Path | None) -> str:
    """gRPC's details of a connection that failed, behind what they mean where that has to do with TLS."""
    if not details.startswith("failed to connect"):
        return details
    if secure and ("handshake" in details or "verification" in details):
        words = next((words for part, words in _OF_SERVER.items() if part in details), "")
    elif "Socket closed" not in details and "Connection reset" not in details:
        words = ""
    elif not secure:
        words = "it hung up at once; does it want TLS?"
    elif certificate is None or key is None:
        words = "it hung up after the handshake; does it want a certificate? None was shown"
    else:
        words = f"it hung up after the handshake, in which {certificate} was shown: {_said_of(certificate, key)}"
    return f"{words} ({details})" if words else details


def _said_of(certificate: Path, key: Path) -> str:
    try:
        begins_s, ends_s = _validity(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        return getattr(error, "verify_message", "") or str(error)
    now_s = wall.now_ns() / 1e9
    if now_s > ends_s:
        return f"it expired on {_date(ends_s)}"
    if now_s < begins_s:
        return f"it is not valid before {_date(begins_s)}"
    return "it is not of the CA that is believed there"


def _validity(certificate: Path, key: Path) -> tuple[float, float]:
    """From when to when, in seconds of the time of day. Python reads certificates of peers only: so this is one to
    itself, in memory. Raises OSError."""
    asking, shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    shown.check_hostname, shown.verify_mode, asking.verify_mode = False, ssl.CERT_NONE, ssl.CERT_REQUIRED
    asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    asking.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    asking.load_verify_locations(certificate)
    for context in (asking, shown):
        context.load_cert_chain(certificate, key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = shown.wrap_bio(back, there), asking.wrap_bio(there, back, server_side=True)
    left = {0, 1}
    for _ in range(8):  # flights
        for end in sorted(left):
            try:
                ends[end].do_handshake()
                left.discard(end)
            except ssl.SSLWantReadError:
                pass
    found = ends[1].getpeercert() or {}
    return ssl.cert_time_to_seconds(str(found["notBefore"])), ssl.cert_time_to_seconds(str(found["notAfter"]))


def _date(when_s: float) -> str:
    return f"{datetime.fromtimestamp(when_s, UTC):%Y-%m-%d %H:%M} UTC"
