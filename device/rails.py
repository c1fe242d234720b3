"""The power rails that a board measures: INA3221 (Orin, Thor) and INA238 (Thor) as hwmon shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_text

_INPUTS = ("VDD_IN", "VIN")
_FED_BY_ANOTHER = ("VDDQ_VDD2_1V8AO",)  # AGX Orin: behind VIN_SYS_5V0, so it would count twice


@dataclass(frozen=True)
class Rail:
    """One rail: the file of its power, or those of voltage and current, and what their value or product is divided by."""

    name: str
    first: Path
    second: Path | None
    per_watt: float


def find_rails(root: Path = ROOT) -> tuple[Rail, ...]:
    """Return the rails that have a label; unused channels of a chip have none, or NC."""
    return tuple(rail for chip in entries(root / "sys/class/hwmon") for rail in _of_chip(chip))


def input_power_w(power_w: Mapping[str, float]) -> float | None:
    """Return what the module draws: its input rail where it has one, else the sum of those that are not fed by another.

    None without rails.
    """
    for name in _INPUTS:
        if name in power_w:
            return power_w[name]
    own = [watts for name, watts in power_w.items() if name not in _FED_BY_ANOTHER]
    return sum(own) if own else None


def _of_chip(chip: Path) -> Iterator[Rail]:
    name = read_text(chip / "name")
    if name == "ina238" and (chip / "power1_input").exists():
        yield Rail(read_text(chip / "in1_label") or "VIN", chip / "power1_input", None, 1e6)  # microwatts
    if name != "ina3221":
        return
    for label in entries(chip, "in[1-3]_label"):
        number, told = label.name[2], read_text(label)
        if told and told != "NC":
            yield Rail(told, chip / f"in{number}_input", chip / f"curr{number}_input", 1e6)  # mV times mA
