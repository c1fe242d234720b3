"""Everything that is known of this machine, by subject."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jetspect.device.board import Board, read_board
from jetspect.device.clock import Clock, read_clock
from jetspect.device.files import ROOT
from jetspect.device.gpu import Gpu, read_gpus
from jetspect.device.memory import Memory, read_memory
from jetspect.device.network import Interface, read_interfaces
from jetspect.device.packages import installed_packages
from jetspect.device.power_modes import PowerModes, read_power_modes
from jetspect.device.probe import Machine, probe
from jetspect.device.software import Software, read_software
from jetspect.device.storage import Disk, Space, read_disks, space


@dataclass(frozen=True)
class DeviceInfo:
    """A machine as it is now. ``root_space`` is the room in the file system of the root; None where it cannot be told."""

    machine: Machine
    board: Board
    software: Software
    gpus: tuple[Gpu, ...]
    memory: Memory
    disks: tuple[Disk, ...]
    root_space: Space | None
    power: PowerModes
    network: tuple[Interface, ...]
    clock: Clock

    def as_dict(self) -> dict[str, Any]:
        """As plain data; power modes without the knobs that each turns."""
        told = asdict(self)
        modes = self.power
        told["power"] = {
            "mode": None if modes.current is None else modes.current.name,
            "modes": {str(m.number): m.name for m in modes.modes},
            "default": modes.default,
        }
        told["clock"]["now"] = self.clock.now.isoformat(timespec="seconds")
        return told


def device_info(root: Path = ROOT) -> DeviceInfo:
    """Describe this machine. ``root`` stands in for ``/``: what is asked of the running kernel is left out then."""
    packages = installed_packages(root)
    board = read_board(packages, root)
    return DeviceInfo(
        machine=probe(root),
        board=board,
        software=read_software(packages, root),
        gpus=read_gpus(board, root),
        memory=read_memory(root),
        disks=read_disks(root),
        root_space=space(root),
        power=read_power_modes(root),
        network=read_interfaces(root),
        clock=read_clock(root),
    )
