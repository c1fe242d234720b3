"""Take what opens a camera out of its address and its pipeline's text, before they reach logs, results and messages.

Where it cannot be told what is a login, more is left out rather than less.
"""

from __future__ import annotations

import re

_LONG = r"password|passwd|passphrase|secret|token|credential|authorization|cookie|extra-headers"
_SHORT = r"user|user-?id|user-?name|login|proxy-id|pw|pwd|pass|auth|(?:api|access|private)?[-_]?key"
_SECRET_NAME = re.compile(rf"{_LONG}|(?:^|[-_:])(?:{_SHORT})$", re.IGNORECASE)
_SECRET_IN_PATH = re.compile(rf"(?:{_LONG}|(?:^|[^a-z])(?:{_SHORT}))\s*=", re.IGNORECASE)
# As gst-launch-1.0 reads them: with spaces around "=", either kind of quotes, and what a backslash escapes. Where a
# quote does not end, the rest of the text belongs to it.
_ASSIGNMENT = re.compile(
    r"""([A-Za-z_][\w:-]*)\s*=\s*((?:"(?:\\.|[^"\\])*(?:"|\\?$)|'(?:\\.|[^'\\])*(?:'|\\?$)|\\.|[^\s\\"'])+)""",
    re.DOTALL,
)
_STARTS_AS_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BARE_ADDRESS = re.compile(rf"{_STARTS_AS_ADDRESS.pattern}[^\s\"'<>]+")
_HOST = re.compile(r"[\w.~%-]*(:\d*)?|\[[\w:.%]*\](:\d*)?")
_LEFT_OUT = "..."


def public_address(address: str) -> str:
    """Return an address without login, query and fragment; a text that is no address stays as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    before, *after = re.split(r"[?#]", rest, maxsplit=1)
    host, slash, path = before.rpartition("@")[2].partition("/")
    # A login may hold any of "/?#@" where nobody wrote them as %2F and so on.
    if "@" in "".join(after) or not _HOST.fullmatch(host):
        return f"{scheme}://{_LEFT_OUT}"
    parts = (_LEFT_OUT if _SECRET_IN_PATH.search(part) else part for part in path.split("/"))
    return f"{scheme}://{host}{slash}{'/'.join(parts)}"


def without_credentials(text: str) -> str:
    """Return a pipeline, or a message about one, without logins: in properties, and in the addresses it holds."""
    return _BARE_ADDRESS.sub(lambda found: public_address(found[0]), _ASSIGNMENT.sub(_assigned, text))


def _assigned(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if _SECRET_NAME.search(name):
        return f"{name}={_LEFT_OUT}"
    quote = value[0] if value[0] in "\"'" else ""
    inner = value.strip(quote) if quote else value
    shown = public_address(inner) if _STARTS_AS_ADDRESS.match(inner) else without_credentials(inner)
    return found[0] if shown == inner else f"{name}={quote}{shown}{quote}"
