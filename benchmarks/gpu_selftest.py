"""The acceptance test of a CUDA device: right answers, golden tiles of every engine, and how close stages come to their limits.

    python -m jetspect.benchmarks.gpu_selftest [--bundle BUNDLE] [--out benchmarks/results/gpu-NAME.json]

The same as ``jetspect device selftest``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jetspect import __version__
from jetspect.benchmarks.gpu_checks import Check, checks_of, run_check
from jetspect.benchmarks.gpu_engines import EngineTrial, try_engines
from jetspect.benchmarks.gpu_frames import check_frames
from jetspect.benchmarks.gpu_peer import Peer, against_cupy
from jetspect.benchmarks.gpu_timing import Timing, time_stages
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Cuda

FRAME_WH = (5472, 3648)


@dataclass(frozen=True)
class SelfTest:
    """All that was asked of one device."""

    device: str
    checks: tuple[Check, ...]
    timing: Timing
    engines: tuple[EngineTrial, ...]
    peer: Peer | None

    @property
    def ok(self) -> bool:
        """Whether every check passed and, where engines were asked for, one is proven and none failed."""
        states = {e.state for e in self.engines}
        engines = not states or ("proven" in states and not states & {"wrong", "failed"})
        return engines and all(c.ok for c in self.checks) and (self.peer is None or self.peer.same)

    def as_dict(self) -> dict[str, Any]:
        return {
            "jetspect": __version__,
            "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": probe().as_dict(),
            "device": self.device,
            "ok": self.ok,
            "checks": [asdict(c) for c in self.checks],
            "timing": self.timing.as_dict(),
            "engines": [asdict(e) for e in self.engines],
            "labelling_against": None if self.peer is None else asdict(self.peer),
        }


def self_test(
    cuda: Cuda,
    bundle: Bundle | None,
    *,
    frame_wh: tuple[int, int] = FRAME_WH,
    tile_px: int = 1024,
    batch: int = 4,
    runs: int = 30,
) -> SelfTest:
    """Ask a device everything. With a bundle its engines are proven and timed as well."""
    frame_hw = frame_wh[1], frame_wh[0]
    todo = checks_of(cuda, frame_hw, tile_px, batch)
    for mode in ("exact", "blend"):
        for channels in (1, 3):
            todo[f"frames in {channels} channels, {mode}"] = partial(check_frames, cuda, mode, channels)
    checks = tuple(run_check(name, work) for name, work in todo.items())
    timing = time_stages(cuda, frame_hw, tile_px, batch, runs)
    engines = () if bundle is None else tuple(try_engines(bundle, frame_hw, tile_px, batch, runs))
    return SelfTest(str(cuda.info), checks, timing, engines, against_cupy(cuda, frame_hw, runs))


def show(result: SelfTest, console: Console) -> None:
    """Print a self-test for people."""
    failed = [c for c in result.checks if not c.ok]
    console.print(
        f"{result.device}: {len(result.checks) - len(failed)} of {len(result.checks)} answers are the reference's"
    )
    for check in failed:
        console.print(f"  wrong: {check.name}: {check.told}", style="bold red", markup=False)
    timing = result.timing
    table = Table(
        "stage",
        "median",
        "floor",
        "times the floor",
        title=f"frame of {timing.frame_wh[0]} x {timing.frame_wh[1]} px, grey",
    )
    for row in (*timing.stages, timing.total):
        ratio = f"{row.times_floor:.2f}" if row.floor_ms else "no copy"
        table.add_row(row.name, f"{row.ms:.3f} ms", f"{row.floor_ms:.3f} ms", ratio)
    console.print(table)
    way = "the device reads the frame where it lies" if timing.mapped else f"upload at {timing.upload_gb_s:.1f} GB/s"
    console.print(
        f"{timing.tiles} tiles of {timing.tile_px} px; {way}; memory at {timing.device_gb_s:.0f} GB/s, {timing.runs} runs"
    )
    for (kind, told), alike in _alike(result.engines).items():
        style = None if alike[0].state in ("proven", "missing") else "bold red"
        console.print(f"{kind} {', '.join(e.precision for e in alike)}: {told}", style=style, markup=False)
    if result.peer is not None:
        peer = result.peer
        console.print(
            f"labelling: {peer.ours_ms:.3f} ms here, {peer.theirs_ms:.3f} ms with {peer.name}: {peer.ratio:.1f} x"
        )


def _alike(engines: tuple[EngineTrial, ...]) -> dict[tuple[str, str], list[EngineTrial]]:
    """Bring together the graphs of which an engine says the same: that it is not installed."""
    alike: dict[tuple[str, str], list[EngineTrial]] = {}
    for engine in engines:
        alike.setdefault((engine.kind, engine.told), []).append(engine)
    return alike


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=FRAME_WH, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    from jetspect.runtime.cuda.driver import PyCuda

    bundle = None if given.bundle is None else Bundle.open(given.bundle)
    with PyCuda() as cuda:
        size = given.size[0], given.size[1]
        result = self_test(cuda, bundle, frame_wh=size, tile_px=given.tile, batch=given.batch, runs=given.runs)
    show(result, Console(highlight=False))
    if given.out is not None:
        given.out.write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    return 0 if result.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
