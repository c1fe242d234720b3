"""From a station file and a bundle to what judges its frames, proven."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.views import ViewInspectors


@dataclass(frozen=True, eq=False)
class Judge:
    """A bundle in the station's engine, and how the engine proved itself. Closing the inspectors closes the engine."""

    bundle: Bundle
    inspectors: ViewInspectors
    golden: GoldenReport


def open_judge(config: StationConfig, bundle: Path | Bundle) -> Judge:
    """Open a bundle as the station would run it, with all its settings.

    Raises
    ------
    JetspectError
        The bundle cannot be trusted, the engine does not run it, or the settings do not fit it.
    """
    if isinstance(bundle, Path):
        bundle = Bundle.open(bundle, public_key=config.bundle.public_key)
    with ExitStack() as opened:
        engine, golden = open_engine(
            bundle,
            kind=config.engine.kind,
            precision=config.bundle.precision,
            threads=config.engine.threads,
            device=device_options(config),
        )
        inspectors = ViewInspectors(bundle, opened.enter_context(engine), config.inspectors)
        opened.pop_all()  # from here on the inspectors close it
    return Judge(bundle, inspectors, golden)


def device_options(config: StationConfig) -> DeviceOptions:
    """Return the one shape that a TensorRT engine of this station has, and where it is."""
    engine = config.engine
    return DeviceOptions(
        tile_px=config.tiling.tile_px,
        batch=config.tiling.batch,
        folder=engine.folder,
        opt_level=engine.opt_level,
        cuda_graph=engine.cuda_graph,
    )
