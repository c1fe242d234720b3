"""Whether mixed precision makes training faster on this machine."""

from __future__ import annotations

from pathlib import Path

_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86, x86, ARM
_CPUINFO = Path("/proc/cpuinfo")


def bfloat16_pays(device: str, cpuinfo: Path = _CPUINFO) -> bool:
    """Say whether bfloat16 is faster than float32: on a GPU, and on a CPU that multiplies it in hardware.

    A CPU without such instructions emulates it and is slower by far. Where the processor cannot be read, the answer is no.

    Parameters
    ----------
    device
        Type of the torch device: ``cuda`` or ``cpu``.
    cpuinfo
        What Linux says about the processor.
    """
    if device != "cpu":
        return True
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(
        _FLAGS & set(value.split())
        for key, _, value in (line.partition(":") for line in lines)
        if key.strip() in ("flags", "Features")
    )
