"""Build an engine from a bundle's graph, on the device that it will run on.

One static shape per engine: minimum, optimum and maximum of its one optimisation profile are the same. What fails is tried
again with less to search and less memory, each step logged and kept. No step changes the graph, which would take the onnx
package that no device has: a transposed convolution that does not build in INT8 is given per-tensor scales, or left in FP16,
when the bundle is calibrated (as in its int8-trt8 graph). REFIT is never set: it keeps Q/DQ from fusing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from jetspect.errors import EngineError
from jetspect.runtime.engines.attempt import MIB, Attempt, BuildRequest, NotBuilt, Progress, times
from jetspect.runtime.engines.sidecar import Step
from jetspect.runtime.engines.trt_binding import require_tensorrt
from jetspect.runtime.engines.trt_versions import Branch, branch_for
from jetspect.runtime.onnx_scan import Value, scan_onnx

log = logging.getLogger(__name__)
# The settings in attempt.py as a whole; an engine built with others is another one.
BUILDER_REVISION = 1
# Scratch memory that kernels may ask for. On Jetson it is the processor's too, so half of what is free stays free.
_MAX_WORKSPACE = 4096 * MIB
_MIN_WORKSPACE = 64 * MIB


@dataclass(frozen=True, eq=False)
class Built:
    """A serialized engine, the timing cache after it, and how it came to be."""

    plan: bytes
    timing_cache: bytes
    branch: Branch
    steps: tuple[Step, ...]
    seconds: float


def workspace_for(free_bytes: int) -> int:
    """Return how much scratch memory a build may use of what is free."""
    return max(_MIN_WORKSPACE, min(_MAX_WORKSPACE, free_bytes // 2))


def build_plan(request: BuildRequest, show: Progress | None = None) -> Built:
    """Build, and on failure step down the ladder.

    Raises
    ------
    MissingDependencyError
        TensorRT is not installed.
    EngineError
        The graph does not take this shape or does not parse, or no step of the ladder builds it; with TensorRT's own words.
    """
    _, version = require_tensorrt()
    branch = branch_for(version, request.precision)
    tiles = _tiles_of(request)
    started = perf_counter()
    tried: list[Step] = []
    for step in _ladder(request):
        log.info("building: %s, %s", branch, step)
        attempt = Attempt(request, branch, version, tiles.name, show)
        try:
            made = attempt.build(step)
        except NotBuilt as error:
            tried.append(step.model_copy(update={"failed": str(error)}))
            log.warning("not built: %s", tried[-1])
            continue
        tried.append(step)
        return Built(made[0], made[1], branch, tuple(tried), perf_counter() - started)
    steps = "; ".join(f"{n}. {step}" for n, step in enumerate(tried, 1))
    raise EngineError(
        f"TensorRT cannot build the {request.precision} graph for tiles {times(request.shape)}: {steps}; take a smaller tile "
        "or batch, or another precision, and see jetspect bundle lint"
    )


def _ladder(request: BuildRequest) -> Iterator[Step]:
    """Yield the given settings, then fewer kernels to choose from, then less memory, then both at the least."""
    level, mib = request.opt_level, request.workspace_bytes // MIB
    less = max(_MIN_WORKSPACE // MIB, mib // 4)
    rungs = [(level, mib), (max(level - 2, 0), mib), (max(level - 2, 0), less), (0, less)]
    for rung in dict.fromkeys(rungs):
        yield Step(opt_level=rung[0], workspace_mib=rung[1])


def _tiles_of(request: BuildRequest) -> Value:
    """Return the graph's input; EngineError where it does not take the shape."""
    inputs = scan_onnx(request.graph).inputs
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise EngineError(
            f"the graph takes {', '.join(map(str, inputs)) or 'nothing'}; a jetspect graph takes N x H x W x C"
        )
    fits = (
        not isinstance(axis, int) or axis == size for axis, size in zip(inputs[0].shape, request.shape, strict=True)
    )
    if not all(fits):
        raise EngineError(f"the graph takes {inputs[0]}, so it cannot be built for {times(request.shape)}")
    return inputs[0]
