"""The words for what goes wrong on the way to a broker."""

from __future__ import annotations

import socket
import ssl

from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.tls import WrongPinError

# X509_V_ERR_... of OpenSSL
_NOT_YET, _EXPIRED, _SELF_SIGNED, _NAMES = 9, 10, 18, (62, 64)

_OLD_TLS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW")  # by whom it is refused


def explain(error: Exception, settings: BrokerSettings) -> str:
    """Say in one line why a connection did not come about, and what to check."""
    if isinstance(error, ssl.SSLCertVerificationError):  # it is a ValueError as well
        return f"its certificate is not trusted: {_not_trusted(error, settings)}"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return f"the name {settings.host!r} is not known; check broker.host and the DNS"
    if isinstance(error, WrongPinError):
        return (
            f"its public key is not one of broker.tls.pin_sha256 (its pin is {error.pin}); no login was sent: "
            "add this pin only if the broker got a new key on purpose"
        )
    if isinstance(error, ssl.SSLError) and error.reason in _OLD_TLS:
        return "it speaks TLS 1.1 or older only; set its listener to TLS 1.2 or newer, nothing older is spoken here"
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "reason", None) or error
        return f"TLS fails ({why}); check broker.port, broker.tls and whether the broker speaks TLS there"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; check that the broker runs, broker.host and broker.port"
    if isinstance(error, TimeoutError):
        return "no answer; check the network, the firewall, broker.host and broker.port"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be reached ({reason}); check the network, broker.host and broker.port"


def login_hint(reason: str) -> str:
    """Say what to check after a broker refused a login for this reason."""
    lower = reason.lower()
    if "protocol" in lower:
        return "set broker.protocol to the version it speaks"
    if "identifier" in lower:
        return "change broker.client_id"
    if "unavailable" in lower or "busy" in lower or "quota" in lower:
        return "the broker is overloaded or not ready"
    return "check broker.username, its password and the broker's access list"


def closed_before_login(settings: BrokerSettings) -> str:
    """Say what it may mean that a broker hangs up instead of answering the login."""
    tls = "broker.tls.cert and key" if settings.tls is not None else "whether the port wants TLS"
    return f"closed the connection before the login; check {tls}, and broker.protocol"


def _not_trusted(error: ssl.SSLCertVerificationError, settings: BrokerSettings) -> str:
    ours = "broker.tls.ca" if settings.tls is not None and settings.tls.ca is not None else "the system's CAs"
    code, clock = error.verify_code, f"this device's clock says {utc_now():%Y-%m-%d %H:%M} UTC"
    if code == _EXPIRED:
        return f"it has expired, or the clock is wrong ({clock}); renew it on the broker, or set the clock"
    if code == _NOT_YET:
        return f"it is not valid yet, or the clock is wrong ({clock}); set the clock of this device or of the CA"
    if code == _SELF_SIGNED:
        return f"it is self-signed and not in {ours}; set broker.tls.ca to the CA of the plant, or to this certificate"
    if code in _NAMES:
        return f"it is for another name than {settings.host!r}; check broker.host, or issue it with this subjectAltName"
    return f"no CA in {ours} has signed it ({error.verify_message}); set broker.tls.ca to the CA that has"
