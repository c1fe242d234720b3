"""Network interfaces, and which of them leads to an address."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_int, read_text

_GET_ADDRESS = 0x8915  # SIOCGIFADDR, netdevice(7)
_ADDRESS = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True)
class Interface:
    """An interface with a cable, an antenna or a bridge behind it.

    Attributes
    ----------
    speed_mbit
        None while there is no link, and for what has no fixed speed.
    ipv4
        Its first address; empty where it has none, and where the files are not this machine's.
    physical
        Whether a device stands behind it; a bridge or a tunnel has none.
    """

    name: str
    up: bool
    speed_mbit: int | None
    mtu: int
    mac: str
    physical: bool
    wireless: bool
    ipv4: str = ""


def read_interfaces(root: Path = ROOT) -> tuple[Interface, ...]:
    """Return every interface but the loopback."""
    return tuple(
        _interface(path, root) for path in entries(root / "sys/class/net") if path.is_dir() and path.name != "lo"
    )


def receive_buffer_max(root: Path = ROOT) -> int | None:
    """Return how many bytes a socket may ask for to hold packets (net.core.rmem_max)."""
    return read_int(root / "proc/sys/net/core/rmem_max")


def interface_to(address: str, root: Path = ROOT) -> str | None:
    """Return the interface that the kernel's table sends packets for an IPv4 address to; None where it has no route."""
    try:
        target = int(ipaddress.IPv4Address(address))
    except ValueError:
        return None
    if ipaddress.IPv4Address(address).is_loopback:
        return "lo"
    best: tuple[int, str] | None = None
    for line in read_text(root / "proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or not all(_ADDRESS.fullmatch(fields[n]) for n in (1, 7)):
            continue
        net, mask = (socket.ntohl(int(fields[n], 16)) for n in (1, 7))
        length = mask.bit_count()
        if target & mask == net and (best is None or length > best[0]):
            best = length, fields[0]
    return None if best is None else best[1]


def _interface(path: Path, root: Path) -> Interface:
    speed = read_int(path / "speed")
    return Interface(
        name=path.name,
        up=_is_up(path),
        speed_mbit=speed if speed is not None and speed > 0 else None,
        mtu=read_int(path / "mtu") or 0,
        mac=read_text(path / "address"),
        physical=(path / "device").exists(),
        wireless=(path / "wireless").is_dir() or (path / "phy80211").exists(),
        ipv4=ipv4_of(path.name) if root == ROOT else "",
    )


def _is_up(path: Path) -> bool:
    """Drivers that do not tell their state, as some of USB adapters and bridges, still tell whether there is a carrier."""
    state = read_text(path / "operstate")
    return state == "up" or (state == "unknown" and read_int(path / "carrier") == 1)


def ipv4_of(name: str) -> str:
    """Ask the kernel for an interface's first address; empty where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            told = fcntl.ioctl(asking, _GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(told[20:24])
