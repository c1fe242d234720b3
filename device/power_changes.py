"""What another power mode changes: the knobs that differ, in words."""

from __future__ import annotations

from jetspect.device.power_modes import PowerMode

_ONLINE = "CPU_ONLINE"
_FREQUENCIES = ("MAX_FREQ", "MIN_FREQ")


def changes(before: PowerMode | None, after: PowerMode | None) -> tuple[str, ...]:
    """Say what differs, such as ``cores 4 -> 8`` and ``GPU 612 MHz -> 918 MHz``; nothing where a mode is not known."""
    if before is None or after is None:
        return ()
    old, new = _knobs(before), _knobs(after)
    told = []
    if (cores := _cores(before)) != (cores_now := _cores(after)):
        told.append(f"cores {cores} -> {cores_now}")
    for knob in dict.fromkeys((*old, *new)):
        what, which = knob
        was, becomes = old.get(knob), new.get(knob)
        if was == becomes or what == _ONLINE:
            continue
        if which in _FREQUENCIES:
            name = what if which == "MAX_FREQ" else f"{what} at least"
            told.append(f"{name} {_mhz(what, was)} -> {_mhz(what, becomes)}")
        else:
            told.append(f"{what} {which} {was or 'not set'} -> {becomes or 'not set'}")
    return tuple(told)


def _knobs(mode: PowerMode) -> dict[tuple[str, str], str]:
    return {(what, which): value for what, which, value in mode.settings}


def _cores(mode: PowerMode) -> int:
    return sum(what == _ONLINE and value == "1" for what, _, value in mode.settings)


def _mhz(what: str, value: str | None) -> str:
    """Clocks of processors stand in kHz, all others in Hz; -1 and, for memory, 0 are no limit."""
    if value is None:
        return "not set"
    number = int(value, 0)
    if number <= 0:
        return "highest"
    return f"{number / (1e3 if what.startswith('CPU') else 1e6):.0f} MHz"
