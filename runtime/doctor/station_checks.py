"""What a station reaches for: its cameras, its broker and its files."""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

from jetspect.device.findings import Finding, fail, ok, skipped, warn
from jetspect.device.link_checks import check_camera_network
from jetspect.device.storage import space
from jetspect.device.system_checks import check_space
from jetspect.runtime.config import StationConfig
from jetspect.runtime.doctor.fixes import for_broker, for_camera, or_else
from jetspect.runtime.doctor.patient import Patient
from jetspect.runtime.engines.cache import default_folder
from jetspect.runtime.frames import Frame, LostFrame, Source, utc_now
from jetspect.runtime.publishing.broker import BrokerSettings, read_login
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.publishing.trial import try_login
from jetspect.runtime.sources import SourceSettings, open_source
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings
from jetspect.runtime.telemetry.prometheus import require_prometheus
from jetspect.runtime.telemetry.settings import MetricsSettings

_FIRST_FRAME_S = 10.0
_LOOK_S = 0.05
_BUNDLE_MB, _ENGINE_MB = 256, 512  # of a large bundle, beside the live one; of its engine and kernel timings
_RENEW = timedelta(days=30)


def check_camera(settings: SourceSettings) -> Finding:
    """Open the source as the station does; a stream must deliver, because opening it only reads its description."""
    return or_else(for_camera(settings), lambda: _look_through(settings))


def _look_through(settings: SourceSettings) -> Finding:
    with open_source(settings) as source:
        if fault := source.counters().fault:
            return fail(fault)
        if isinstance(settings, GStreamerSettings) and settings.timeout_s:
            return _first_frame(source)
    return ok("it is there")


def check_gige_network(settings: GigeSettings, root: Path) -> Finding:
    if settings.ip is None:
        return skipped("the camera is named by its serial number; with ip instead its network can be checked")
    return check_camera_network(settings.ip, settings.packet_size, root)


def check_broker(settings: BrokerSettings, config: StationConfig, nonce: str) -> Finding:
    """Log in with the station's certificates and password, under a client id of its own, so that a running one stays on."""
    return or_else(for_broker(settings), lambda: _log_in(settings, config, nonce))


def _log_in(settings: BrokerSettings, config: StationConfig, nonce: str) -> Finding:
    login = read_login(settings)
    certificate = login.certificate
    if certificate is not None and certificate.not_after < utc_now():
        return fail(
            f"the station's certificate ended at {certificate.not_after:%Y-%m-%d %H:%M} UTC; issue a new one",
            _shown(settings),
        )
    where = config.station
    topics = Topics(where.namespace, where.site, where.area, where.line, where.unit)
    own_id = settings.client_id or topics.leaf("station").replace("/", ".")
    if fault := try_login(settings, f"{own_id}.doctor-{nonce}", login, lambda: False):
        return fail(f"{settings.where}: {fault}")
    if certificate is not None and certificate.not_after - utc_now() < _RENEW:
        return warn(
            f"{settings.where} takes the login; the station's certificate ends at {certificate.not_after:%Y-%m-%d}"
        )
    return ok(f"{settings.where} takes the login")


def _shown(settings: BrokerSettings) -> str:
    certificate = None if settings.tls is None else settings.tls.cert
    return f"openssl x509 -noout -subject -dates -in {shlex.quote(str(certificate))}"


def check_folder(path: Path, needed_mb: int) -> Finding:
    """The folder of a file that the station writes: may it, and is there room?"""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return fail(
            f"{there} is a file, and a folder is needed there; name another place in the station file",
            f"ls -ld {there}",
        )
    if not os.access(there, os.W_OK | os.X_OK):
        return _unwritable(path.absolute(), there)
    return check_space(space(there), str(there), needed_mb)


def check_metrics(settings: MetricsSettings) -> Finding:
    """The endpoint for Prometheus can be opened."""
    require_prometheus()
    where = f"{settings.address} port {settings.port}"
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.address, settings.port))
            listener.listen(1)
        except OSError as error:
            return fail(
                f"[metrics] cannot listen on {where}: {error.strerror}", f"sudo ss -ltnp 'sport = :{settings.port}'"
            )
    return ok(f"{where} is free")


def folders_of(patient: Patient) -> dict[str, tuple[Path, int]]:
    """Return what a station writes into, and how many MiB it may take there."""
    config = patient.config
    if config is None:
        return {}
    found = {"outbox": (config.outbox.path.parent, config.outbox.max_mb)}
    if config.evidence is not None:
        found["evidence"] = (config.evidence.folder, int(config.evidence.max_mb))
    if config.bundle.slots is not None:
        found["slots"] = (config.bundle.slots, _BUNDLE_MB)
    if patient.on_tensorrt:
        found["engine"] = (config.engine.folder or default_folder(), _ENGINE_MB)
    return found


def _unwritable(path: Path, there: Path) -> Finding:
    """Make the folder that is missing; whoever owned its parent as well would own what others keep there."""
    user, reason = _user(), f"{there} may not be written by this user"
    if path != there:
        return fail(reason, f"sudo install -d -o {user} -m 750 {shlex.quote(str(path))}")
    if there.stat().st_uid == 0 and _used(there):
        own = there / "jetspect"
        return fail(
            f"{reason}, and it belongs to the system; name a folder of its own in the station file",
            f"sudo install -d -o {user} -m 750 {shlex.quote(str(own))}",
        )
    return fail(reason, f"sudo chown {user} {shlex.quote(str(there))}")


def _user() -> str:
    """Return who runs this, whom a $USER in another shell would not be."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _used(folder: Path) -> bool:
    """Whether something lies in a folder; one that cannot be listed is taken for used."""
    try:
        return any(entry.name != "lost+found" for entry in folder.iterdir())
    except OSError:
        return True


def _first_frame(source: Source) -> Finding:
    """Take frames in a thread until one comes or the source says what is wrong."""
    got: list[Frame | LostFrame] = []
    came = threading.Event()

    def take() -> None:
        for item in source:
            got.append(item)
            came.set()
            return

    thread = threading.Thread(target=take, name="jetspect-doctor-frame", daemon=True)
    thread.start()
    deadline = time.monotonic() + _FIRST_FRAME_S
    try:
        while time.monotonic() < deadline and thread.is_alive() and not came.wait(_LOOK_S):
            if fault := source.counters().fault:
                return fail(fault)
    finally:
        source.stop()
        thread.join(_FIRST_FRAME_S)
    if not got:
        return fail(source.counters().fault or f"no frame came within {_FIRST_FRAME_S:.0f} s")
    item = got[0]
    if isinstance(item, LostFrame):
        return fail(item.reason)
    return ok(f"a frame of {item.size_wh[0]} x {item.size_wh[1]} px came")
