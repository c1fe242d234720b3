"""Time and memory of one large frame, stage by stage, on the CPU.

    python -m jetspect.benchmarks.frame bundles/metal-demo --tile 384 --frames 5 --out benchmarks/results/frame.json

Frames come from the synthetic camera and are rendered before the clock starts; the first one warms up.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetspect import __version__
from jetspect.benchmarks.stats import outside_engine, peak_memory_mb, stages
from jetspect.device.energy import EnergyMeter
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.publishing.describing import timings_ms
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.sources.synthetic import render_part


def measure(
    bundle_path: Path, tile_px: int | None, frames: int, size_wh: tuple[int, int], batch: int
) -> dict[str, Any]:
    """Inspect ``frames`` rendered parts after one warm-up and return the measurements as plain data."""
    image = render_part(1, size_wh).image
    before = peak_memory_mb()
    bundle = Bundle.open(bundle_path)
    engine, golden = open_engine(bundle)
    settings = InspectorSettings(tiling=TilingSettings(tile_px=tile_px, batch=batch))
    timings, energy = [], []
    tiles = 0
    with Inspector(bundle, engine, settings) as inspector:
        for number in range(frames + 1):
            image = image if number == 0 else render_part(number + 1, size_wh).image
            with EnergyMeter() as meter:  # without power rails it measures nothing
                inspection = inspector.inspect(Frame(image, f"frame-{number}"))
            tiles = inspection.tiles
            if number:
                timings.append(timings_ms(inspection))
                energy.append(meter.per_megapixel(size_wh[0] * size_wh[1] / 1e6))
        used = inspector.tile_px
    return {
        "jetspect": __version__,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": probe().as_dict(),
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
        "engine": str(engine.info),
        "golden": str(golden),
        "frame_wh": list(size_wh),
        "tile_px": used,
        "halo_px": bundle.manifest.tiling.halo_px,
        "batch": batch,
        "tiles": tiles,
        "frames": frames,
        "energy_j_per_megapixel": None if None in energy or not energy else sum(e or 0.0 for e in energy) / len(energy),
        "outside_engine": outside_engine(timings),
        "megapixels_per_s": frames * size_wh[0] * size_wh[1] / 1e3 / sum(t["total"] for t in timings),
        "peak_memory_mb": peak_memory_mb(),
        "peak_memory_after_rendering_mb": before,
        "stages": [vars(s) for s in stages(timings)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--tile", type=int, nargs="*", default=[], help="tile sizes; the bundle's own by default")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, nargs=2, default=(5472, 3648), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    rows = []
    for tile in options.tile or [None]:
        row = measure(options.bundle, tile, options.frames, tuple(options.size), options.batch)
        rows.append(row)
        print(
            f"tile {row['tile_px']}: {row['tiles']} tiles, {row['stages'][-1]['p50_ms']:.0f} ms, "
            f"{row['megapixels_per_s']:.1f} MP/s, outside the engine {100 * row['outside_engine']:.2f} % of its time, "
            f"peak memory {row['peak_memory_mb']:.0f} MB"
        )
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
