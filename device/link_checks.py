"""What a camera's cable needs from the machine: MTU, speed and buffers of a network, and USB that stays awake."""

from __future__ import annotations

from pathlib import Path

from jetspect.device.files import ROOT, entries, read_text
from jetspect.device.findings import Finding, fail, ok, skipped, warn
from jetspect.device.network import interface_to, read_interfaces, receive_buffer_max

_JUMBO = 8000
_GIGABIT = 1000
_BUFFER_BYTES = 16 << 20
_VIDEO_CLASS = "0e"
_USB3_VISION = ("ef", "05")  # class and subclass of its control interface (AIA USB3 Vision 1.0)


def check_camera_network(address: str, packet_size: int | None, root: Path = ROOT) -> Finding:
    """Check the interface that leads to a GigE Vision camera.

    Parameters
    ----------
    packet_size
        What the station file asks for, bytes with the IP header; None: negotiated.
    """
    name = interface_to(address, root)
    if name == "lo":
        return skipped(f"{address} is this machine")
    if name is None:
        return fail(
            f"no network leads to {address}", "ip -br address   # the camera needs an address in one of these nets"
        )
    card = next((c for c in read_interfaces(root) if c.name == name), None)
    if card is None:
        return skipped(f"the interface {name} to {address} tells nothing")
    told = f"{address} is reached over {name}, MTU {card.mtu}"
    raise_mtu = (
        f"sudo ip link set dev {name} mtu 9000   # to keep: sudo nmcli connection modify NAME 802-3-ethernet.mtu 9000"
    )
    if not card.up:
        return fail(f"{told}: it is down", f"sudo ip link set dev {name} up   # and check the cable")
    if packet_size is not None and packet_size > card.mtu:
        return fail(f"{told}: packets of {packet_size} bytes (source.packet_size) do not get through", raise_mtu)
    if card.speed_mbit is not None and card.speed_mbit < _GIGABIT:
        return warn(f"{told}: the link has only {card.speed_mbit} Mbit/s; check cable, switch and the camera's port")
    if card.mtu < _JUMBO:
        return warn(
            f"{told}: without jumbo frames a frame takes six times the packets, and more of the processor", raise_mtu
        )
    return ok(told)


def check_receive_buffer(root: Path = ROOT) -> Finding:
    """Small buffers lose packets whenever the processor is busy for a moment."""
    largest = receive_buffer_max(root)
    if largest is None:
        return skipped("this machine does not tell net.core.rmem_max")
    if largest < _BUFFER_BYTES:
        line = "echo net.core.rmem_max=33554432 | sudo tee /etc/sysctl.d/60-jetspect.conf && sudo sysctl --system"
        return warn(f"net.core.rmem_max is {largest} bytes, {_BUFFER_BYTES} or more keep bursts of a camera", line)
    return ok(f"net.core.rmem_max is {largest} bytes")


def check_usb_awake(root: Path = ROOT) -> Finding:
    """A USB camera that is put to sleep comes back late, or not at all."""
    cameras = usb_cameras(root)
    if not cameras:
        return skipped("no USB camera is plugged in")
    asleep = [c for c in cameras if read_text(c / "power/control") == "auto"]
    names = ", ".join(read_text(c / "product") or c.name for c in asleep or cameras)
    if not asleep:
        return ok(f"{names}: no autosuspend")
    files = " ".join(f"/{c.relative_to(root)}/power/control" for c in asleep)
    return warn(
        f"{names}: may be put to sleep (autosuspend)", f"echo on | sudo tee {files}   # docs/device.md keeps it"
    )


def usb_cameras(root: Path = ROOT) -> tuple[Path, ...]:
    """Return the folders of USB devices that have an interface of a camera: UVC or USB3 Vision."""
    folder = root / "sys/bus/usb/devices"
    video = {p.name.partition(":")[0] for p in entries(folder, "*:*") if _is_camera(p)}
    return tuple(folder / name for name in sorted(video))


def _is_camera(interface: Path) -> bool:
    kind = read_text(interface / "bInterfaceClass")
    return kind == _VIDEO_CLASS or (kind, read_text(interface / "bInterfaceSubClass")) == _USB3_VISION
