"""GigE Vision through Aravis: find cameras, open one, take its buffers."""

from __future__ import annotations

import ipaddress
import logging
import threading
from dataclasses import dataclass
from typing import Any

from jetspect.errors import MissingDependencyError, SourceError

log = logging.getLogger(__name__)
_INSTALL = (
    "sudo apt-get install gir1.2-aravis-0.8 python3-gi (in a virtual environment without --system-site-packages: "
    "libgirepository1.0-dev libcairo2-dev pkg-config gcc, then pip install 'jetspect[gige]')"
)
_SERIAL_AT, _MAC_AT = 0xD8, (0x08, 0x0C)  # bootstrap registers of every GigE Vision device
_CHECK = "check packet_size, the cable and the load of the switch"


@dataclass(frozen=True)
class CameraInfo:
    """A camera that answers on the network."""

    serial: str
    address: str
    vendor: str
    model: str
    device_id: str

    def __str__(self) -> str:
        return f"{self.serial} ({self.vendor} {self.model} at {self.address})"


@dataclass(frozen=True, eq=False)
class Grab:
    """What came for one exposure. ``fault`` says why the data cannot be used; they are empty then.

    Attributes
    ----------
    block
        The camera's own count of frames.
    host_ns, camera_ns
        Since 1970 where the clock is set: when the first packet came, and when the camera says it exposed.
    """

    block: int
    host_ns: int
    camera_ns: int
    size_wh: tuple[int, int] | None
    data: bytes
    fault: str | None


def require_aravis() -> Any:
    """Return the module ``gi.repository.Aravis``."""
    try:
        import gi
    except ImportError as error:
        raise MissingDependencyError("PyGObject (gi)", "GigE Vision cameras", _INSTALL) from error
    try:
        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        raise MissingDependencyError("Aravis 0.8", "GigE Vision cameras", _INSTALL) from error
    return Aravis


def find_cameras() -> list[CameraInfo]:
    """Ask on every network interface for GigE Vision cameras; waits one second for answers."""
    aravis = require_aravis()
    aravis.update_device_list()
    found = [
        CameraInfo(
            serial=aravis.get_device_serial_nbr(n) or "",
            address=aravis.get_device_address(n) or "",
            vendor=aravis.get_device_vendor(n) or "",
            model=aravis.get_device_model(n) or "",
            device_id=aravis.get_device_id(n),
        )
        for n in range(aravis.get_n_devices())
        if aravis.get_device_protocol(n) == "GigEVision"
    ]
    return sorted(found, key=lambda camera: camera.serial)


class AravisCamera:
    """One camera under our control, from opening to :meth:`close`.

    Parameters
    ----------
    where
        Serial number or IP address.

    Raises
    ------
    SourceError
        It does not answer, another program has it, or another camera has its address by now.
    """

    def __init__(self, where: str) -> None:
        aravis = require_aravis()
        from gi.repository import GLib

        self._aravis, self._error = aravis, GLib.Error
        self._lost = threading.Event()
        self._stream: Any = None
        self.handle: Any = None
        try:
            self.handle = aravis.Camera.new(_address(where))
            self._device = self.handle.get_device()
            self.serial = str(self.handle.get_device_serial_number())
            self.name = f"camera {self.serial}"
        except GLib.Error as error:
            self.close()
            raise SourceError(
                f"camera {where} does not answer ({error.message}); check its power, its cable, and that its address is in "
                "the subnet of this machine"
            ) from error
        lost = self._lost
        self._device.connect("control-lost", lambda _: lost.set())
        if not _is_address(where) and where not in (names := self._names()):
            self.close()
            told = f"camera {where} was looked for and {' or '.join(sorted(names))} answers at its address"
            raise SourceError(f"{told}: it changed just then, or is used twice; give each camera one of its own")
        if not self._device.is_controller():
            self.close()
            raise SourceError(
                f"{self.name} is in use by another program; end that one (after a crash the camera is free again when "
                "its heartbeat ran out, 3 s by default)"
            )

    def _names(self) -> set[str]:
        """Return what cameras are found by: the serial number that it answers with, or its MAC where that is empty."""
        try:
            words = [self._device.read_register(_SERIAL_AT + 4 * n) for n in range(4)]
            serial = b"".join(word.to_bytes(4, "big") for word in words).split(b"\0")[0].decode("utf-8", "replace")
            high, low = (self._device.read_register(at) for at in _MAC_AT)
            mac = ((high & 0xFFFF) << 32 | low).to_bytes(6, "big").hex(":")
            return {self.serial, serial or mac}
        except self._error as error:
            log.info("%s does not tell its registers: %s", self.name, error.message)
            return {self.serial}

    @property
    def lost(self) -> bool:
        """Whether the camera no longer answers, or obeys another program."""
        return self._lost.is_set()

    def start(self, buffers: int, *, resend: bool) -> None:
        """Begin to capture into so many buffers."""
        try:
            self._stream = self.handle.create_stream(None, None)
            if self._stream is None:
                raise SourceError(f"{self.name} gives no stream; it may have none, or another program has it")
            policy = self._aravis.GvStreamPacketResend
            self._stream.set_property("packet-resend", policy.ALWAYS if resend else policy.NEVER)
            # As large as a frame, where net.core.rmem_max allows it: a busy machine loses packets without.
            self._stream.set_property("socket-buffer", self._aravis.GvStreamSocketBuffer.AUTO)
            payload = self.handle.get_payload()
            for _ in range(buffers):
                self._stream.push_buffer(self._aravis.Buffer.new_allocate(payload))
            self.handle.start_acquisition()
        except self._error as error:
            raise SourceError(f"{self.name} cannot begin to capture: {error.message}") from error

    def grab(self, timeout_s: float) -> Grab | None:
        """Wait for the next buffer; None when none came."""
        buffer = self._stream.timeout_pop_buffer(int(timeout_s * 1e6))
        if buffer is None:
            return None
        try:
            status = buffer.get_status()
            fault = None if status == self._aravis.BufferStatus.SUCCESS else _fault(status.value_nick)
            # A damaged buffer may not even hold a header: asking it for its size is an error in Aravis.
            return Grab(
                block=buffer.get_frame_id(),
                host_ns=buffer.get_system_timestamp(),
                camera_ns=buffer.get_timestamp(),
                size_wh=None if fault else (buffer.get_image_width(), buffer.get_image_height()),
                data=b"" if fault else buffer.get_data(),
                fault=fault,
            )
        finally:
            self._stream.push_buffer(buffer)

    def fire(self) -> None:
        """Trigger it by software. Raises SourceError where it does not answer."""
        handle = self.handle
        if handle is None:  # closed by the thread that takes its frames
            raise SourceError(f"{self.name} is not there; it is opened again as soon as it answers")
        try:
            handle.software_trigger()
        except self._error as error:
            raise SourceError(f"{self.name} does not take the trigger: {error.message}") from error

    def packets(self) -> tuple[int, int]:
        """Return how many packets were lost on the way, and how many came after asking again."""
        if self._stream is None:
            return 0, 0
        return (
            self._stream.get_info_uint64_by_name("n_missing_packets"),
            self._stream.get_info_uint64_by_name("n_resent_packets"),
        )

    def close(self) -> None:
        """Let the camera go. Waits some seconds where it no longer answers and that was not noticed yet."""
        handle, self.handle, self._stream = self.handle, None, None
        if handle is None:
            return
        device, self._device = handle.get_device(), None
        try:
            if device.is_controller() and not self.lost:
                handle.stop_acquisition()
                device.leave_control()
        except self._error as error:
            log.info("%s was not stopped: %s", getattr(self, "name", "camera"), error.message)


def _is_address(where: str) -> bool:
    try:
        ipaddress.ip_address(where)
    except ValueError:
        return False
    return True


def _address(where: str) -> str:
    if _is_address(where):
        return where
    found = find_cameras()
    matches = [camera for camera in found if camera.serial == where]
    if matches:
        return matches[0].address
    names = ", ".join(map(str, found)) or "none"
    raise SourceError(
        f"no GigE camera with serial {where!r} answers; found: {names}. Check its power, its cable, and that its address "
        "is in the subnet of this machine"
    )


def _fault(nick: str) -> str:
    said = {
        "missing-packets": f"packets of it were lost on the network; {_CHECK}",
        "timeout": f"packets of it did not come in time; {_CHECK}",
        "size-mismatch": "it is larger than the buffers made at the start: the camera's size or pixel format changed",
        "aborted": "the stream ended while it came",
    }
    return said.get(nick, nick.replace("-", " "))
