"""``jetspect device info``: what machine is this."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.gpu import Gpu
from jetspect.device.info import DeviceInfo, device_info
from jetspect.device.storage import Disk

_UNKNOWN = "-"


def info(as_json: JsonOption = False) -> None:
    """Tell what this machine is: board, JetPack, CUDA and TensorRT, memory, disks, power mode, network and clock.

    Reads files only and needs no rights; works on any Linux.

    Example: jetspect device info
    """
    told = device_info()
    if as_json:
        print_json(told.as_dict())
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(told):
        table.add_row(f"[bold]{name}[/]", escape(value or _UNKNOWN))
    console.print(table)


def _rows(i: DeviceInfo) -> list[tuple[str, str]]:
    b, s, m, python = i.board, i.software, i.memory, i.software.python
    rows = [("machine", f"{i.machine.model}, {i.machine.cores} cores, {i.machine.architecture}")]
    if b.is_jetson:
        rows += [("module", f"{b.module} ({b.part}, {b.soc})"), ("JetPack", f"{b.jetpack or '?'} (L4T {b.l4t or '?'})")]
    where = f", in {python.environment}" if python.environment else ""
    hidden = "" if python.sees_system_packages else ", which does not see what apt installs"
    rows += [
        ("system", f"{i.machine.os}, kernel {i.machine.kernel}"),
        ("Python", f"{python.version}{where}{hidden}"),
        *(("GPU", _gpu(g)) for g in i.gpus),
        ("CUDA", s.cuda),
        ("cuDNN", s.cudnn),
        ("TensorRT", s.tensorrt),
        ("memory", f"{m.total_mb} MiB, {m.available_mb} available; swap {m.swap_total_mb}, of it zram {m.zram_mb}"),
    ]
    rows += [("disk", _disk(d)) for d in i.disks]
    if i.root_space is not None:
        rows.append(("room on /", f"{i.root_space.free_mb} of {i.root_space.total_mb} MiB"))
    if i.power.modes:
        rows.append(("power mode", i.power.current.name if i.power.current else _UNKNOWN))
    for card in i.network:
        speed = f"{card.speed_mbit} Mbit/s" if card.speed_mbit else "speed not told"
        address = f", {card.ipv4}" if card.ipv4 else ""
        rows.append(("network", f"{card.name}: {'up' if card.up else 'down'}, {speed}, MTU {card.mtu}{address}"))
    state = {True: "synchronised", False: "not synchronised", None: "not known whether synchronised"}
    service = f" by {i.clock.service}" if i.clock.service else ""
    rows.append(("clock", f"{i.clock.now:%Y-%m-%d %H:%M:%S} UTC, {state[i.clock.synchronised]}{service}"))
    return rows


def _gpu(g: Gpu) -> str:
    parts = [g.name, f"driver {g.driver}" if g.driver else "no driver told"]
    if g.compute_capability:
        parts.append(f"compute capability {g.compute_capability}")
    if g.memory_mb:
        parts.append(f"{g.memory_mb} MiB")
    if g.dla_cores:
        parts.append(f"{g.dla_cores} DLA")
    return ", ".join(parts)


def _disk(d: Disk) -> str:
    worn = "" if d.worn_percent is None else f", {d.worn_percent} % of its life used"
    spare = f", spare blocks {d.pre_eol}" if d.pre_eol else ""
    kind = f"{d.kind} {d.model}".strip()
    return f"{d.name}: {kind}, {d.size_mb} MiB{worn}{spare}"
