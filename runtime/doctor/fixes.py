"""What to type where a camera or a broker fails with a reason alone: the plainest tool that shows the same from outside."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace

from jetspect.device.findings import Finding, fail
from jetspect.errors import JetspectError
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.sources import SourceSettings
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings

_COMMAND = " with: "  # of an error that names its own
_PASSWORD = re.compile(r"(//[^/@\s:]+:|user-pw=)[^/@\s]+")
_APPSINK = re.compile(r"appsink[^!]*$")


def or_else(fix: str, check: Callable[[], Finding]) -> Finding:
    """Return what a check finds, with ``fix`` where it fails and names nothing to type."""
    try:
        found = check()
    except JetspectError as error:
        if _COMMAND in str(error):
            raise
        found = fail(str(error))
    return replace(found, fix=fix) if found.verdict == "fail" and not found.fix else found


def for_camera(settings: SourceSettings) -> str:
    if isinstance(settings, GigeSettings):
        return "arv-tool-0.8   # lists the cameras that answer; apt: aravis-tools-cli"
    if isinstance(settings, GStreamerSettings):
        return f"gst-launch-1.0 -v {_quoted(_APPSINK.sub('fakesink', settings.pipeline))}"
    path = getattr(settings, "path", None) or getattr(settings, "device", "")
    if "://" in str(path):
        return f"gst-discoverer-1.0 {_quoted(str(path))}   # apt: gstreamer1.0-plugins-base-apps"
    if re.fullmatch(r"\d+|/dev/video\d+", str(path)):
        return "v4l2-ctl --list-devices   # apt: v4l-utils; sudo fuser -v /dev/video* tells who holds one"
    return f"ls -ld {shlex.quote(str(path))}" if path else ""


def for_broker(settings: BrokerSettings) -> str:
    if settings.tls is None:
        return f"nc -vz {settings.host} {settings.port}"
    words = ["openssl", "s_client", "-connect", f"{settings.host}:{settings.port}", "-verify_return_error"]
    for option, file in (("-CAfile", settings.tls.ca), ("-cert", settings.tls.cert), ("-key", settings.tls.key)):
        if file is not None:
            words += [option, str(file)]
    return f"{shlex.join(words)} < /dev/null"


def _quoted(pipeline: str) -> str:
    """Return a pipeline as a shell takes it, without the password of a camera: what the doctor says is shown around."""
    hidden = _PASSWORD.sub(r"\1PASSWORD", pipeline)
    try:
        words = shlex.split(hidden)
    except ValueError:  # a quotation mark without its other one
        words = hidden.split()
    return " ".join(word if word == "!" else shlex.quote(word) for word in words)
