"""The TensorRT engine that a deploy builds, before the station needs it."""

from __future__ import annotations

import logging
from pathlib import Path

from jetspect.errors import JetspectError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import AUTO
from jetspect.runtime.engines.attempt import Progress
from jetspect.runtime.engines.cache import default_folder
from jetspect.runtime.engines.trt_binding import require_tensorrt
from jetspect.runtime.judging import device_options

log = logging.getLogger(__name__)


def engine_folder(config: StationConfig) -> Path | None:
    """Return the folder that a station's engine is built into; None where there is nothing to build."""
    kind = config.engine.kind
    if kind == AUTO:  # it can only choose TensorRT where its engine was built before
        try:
            require_tensorrt()
        except MissingDependencyError:
            return None
        except JetspectError as error:
            log.warning("engine.kind is auto, and TensorRT is no choice: %s", error)
            return None
    elif kind != "tensorrt":
        return None
    return config.engine.folder or default_folder()


def build(bundle: Bundle, config: StationConfig, show: Progress | None) -> None:
    """Build the engine; where the station chooses its engine, one that cannot be built is told and no obstacle."""
    from jetspect.runtime.engines.device import build_engine

    try:
        build_engine(bundle, config.bundle.precision, device_options(config), show=show)
    except JetspectError as error:
        if config.engine.kind != AUTO:
            raise
        log.warning("engine.kind is auto, and no TensorRT engine can be built, so another one will judge: %s", error)
