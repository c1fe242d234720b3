"""What the standard library does not tell of an X.509 certificate: its public key, and until when it is good (RFC 5280)."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

_UTC_TIME, _VERSION = 0x17, 0xA0  # DER tags
_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Certificate:
    """What is asked of one certificate.

    Attributes
    ----------
    pin
        SHA-256 of its SubjectPublicKeyInfo in base64, as RFC 7469 (section 2.4) has it. It stays when a certificate is
        renewed with the same key.
    """

    not_after: datetime
    pin: str

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read a certificate. Raises ValueError for what is none."""
        try:
            (_, outer, _), *_ = _elements(der)
            (_, body, _), *_ = _elements(outer)
            fields = [f for f in _elements(body) if f[0] != _VERSION]
            # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
            (_, validity, _), (_, _, key) = fields[3], fields[5]
            _, (tag, until, _) = _elements(validity)
            return cls(_time(tag, until.decode("ascii")), base64.b64encode(hashlib.sha256(key).digest()).decode())
        except (IndexError, ValueError) as error:
            raise ValueError("this is no X.509 certificate in DER") from error

    @classmethod
    def from_pem(cls, text: str) -> Certificate:
        """Read the first certificate of a PEM file, its owner's. Raises ValueError where there is none."""
        begin = text.find(_PEM_BEGIN)
        end = text.find(_PEM_END, begin)
        if begin < 0 or end < 0:
            raise ValueError("there is no certificate in this PEM text")
        return cls.from_der(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_PEM_END)]))


def _elements(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the tag, the content and the whole of each element that stands in ``data``."""
    at = 0
    while at < len(data):
        start, tag, length, at = at, data[at], data[at + 1], at + 2
        if length & 0x80:
            width = length & 0x7F
            length, at = int.from_bytes(data[at : at + width], "big"), at + width
        end = at + length
        if end > len(data):
            raise ValueError("an element ends beyond the data")
        yield tag, data[at:end], data[start:end]
        at = end


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # two digits for the year: 50 and above belong to the last century
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
