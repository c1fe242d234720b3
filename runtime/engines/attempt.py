"""One try at building an engine: an empty network in, TensorRT's answer out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetspect.errors import EngineError
from jetspect.runtime.engines.sidecar import Step
from jetspect.runtime.engines.trt_binding import TrtLog
from jetspect.runtime.engines.trt_versions import Branch, Version, can_report_progress
from jetspect.runtime.manifest import Precision

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)
MIB = 1024**2
_ERRORS_SHOWN = 8
Progress = Callable[[str, int, int], None]
"""Called with what is done, steps done and steps in all."""


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built. ``shape`` is N, H, W, C of the tiles; ``workspace_bytes`` a limit that the ladder may lower."""

    graph: bytes
    precision: Precision
    shape: tuple[int, int, int, int]
    opt_level: int
    workspace_bytes: int
    timing_cache: bytes = b""


class NotBuilt(Exception):
    """A try failed in a way that less to search or less memory may mend."""


class Attempt:
    """One try, from an empty network, so that nothing of a failed one is left over."""

    def __init__(
        self, request: BuildRequest, branch: Branch, version: Version, tiles: str, show: Progress | None
    ) -> None:
        import tensorrt as trt

        self._request, self._branch, self._version, self._tiles = request, branch, version, tiles
        self._log = TrtLog()
        self._monitor = _monitor(self._log, show) if can_report_progress(version) else None
        try:
            self._builder = trt.Builder(self._log.logger)
        except (TypeError, RuntimeError):  # how pybind11 says that there is none
            self._log.fail(
                "TensorRT cannot start a build", "check that the GPU works: nvidia-smi, or tegrastats on Jetson"
            )

    def build(self, step: Step) -> tuple[bytes, bytes]:
        """Return the engine and the timing cache."""
        import tensorrt as trt

        builder = self._builder
        network = builder.create_network(_network_flags(self._branch))
        # The network borrows the parser's copy of the weights, so the parser lives until the build is done.
        parser = self._parse(network)
        config = self._config(step)
        profile = builder.create_optimization_profile()
        shape = trt.Dims(list(self._request.shape))
        profile.set_shape(self._tiles, shape, shape, shape)
        if config.add_optimization_profile(profile) < 0:
            self._log.fail(f"TensorRT refuses tiles {times(self._request.shape)}", "export the bundle again")
        plan = builder.build_serialized_network(network, config)
        if self._log.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise NotBuilt("; ".join(self._log.take()[:_ERRORS_SHOWN]) or "TensorRT gives no reason")
        del parser
        return bytes(plan), self._timing_after(config)

    def _parse(self, network: trt.INetworkDefinition) -> trt.OnnxParser:
        import tensorrt as trt

        parser = trt.OnnxParser(network, self._log.logger)
        if parser.parse(self._request.graph) and parser.num_errors == 0:
            return parser
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        named = can_report_progress(self._version)
        told = [
            f"{error.node_operator()} {error.node_name()}: {error.desc()}"
            if named
            else f"node {error.node()}: {error.desc()}"
            for error in errors
        ] or self._log.take()
        more = f"; and {len(told) - _ERRORS_SHOWN} more" if len(told) > _ERRORS_SHOWN else ""
        said = "; ".join(" ".join(line.split()) for line in told[:_ERRORS_SHOWN]) or "no reason given"
        raise EngineError(
            f"TensorRT cannot read the {self._request.precision} graph, {len(told)} faults: {said}{more}; see "
            "jetspect bundle lint, and export the bundle again"
        )

    def _config(self, step: Step) -> trt.IBuilderConfig:
        import tensorrt as trt

        config = self._builder.create_builder_config()
        config.builder_optimization_level = step.opt_level
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, step.workspace_mib * MIB)
        # So that the inspector can say in which precision every layer runs.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if not self._branch.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        # By name in the branch and never by getattr: TensorRT 11 does not have these any more.
        if "FP16" in self._branch.flags:
            config.set_flag(trt.BuilderFlag.FP16)
        if "INT8" in self._branch.flags:
            config.set_flag(trt.BuilderFlag.INT8)
        if self._monitor is not None:
            config.progress_monitor = self._monitor
        self._timing_before(config)
        return config

    def _timing_before(self, config: trt.IBuilderConfig) -> None:
        """Hand over the timings of earlier builds; where TensorRT does not take them, start without."""
        for known in (self._request.timing_cache, b""):
            cache = config.create_timing_cache(known)
            if cache is not None and config.set_timing_cache(cache, False):
                return
            log.warning("TensorRT does not take the timing cache (%s); measuring again", "; ".join(self._log.take()))

    @staticmethod
    def _timing_after(config: trt.IBuilderConfig) -> bytes:
        cache = config.get_timing_cache()
        return b"" if cache is None else bytes(cache.serialize())


def _network_flags(branch: Branch) -> int:
    import tensorrt as trt

    if branch.strong:
        return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    if branch.explicit_batch:
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return 0


def times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _monitor(seen: TrtLog, show: Progress | None) -> trt.IProgressMonitor:
    """Return what TensorRT tells how far it is. Ctrl-C ends the build; it is noted, since nothing may be raised through C++."""
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # Any without TensorRT
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            # Inner phases come and go by the hundred.
            if parent_phase is None:
                self._steps[phase_name] = num_steps
                log.info("%s: %d steps", phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if show is not None and phase_name in self._steps:
                with seen.holding_back():
                    show(phase_name, step + 1, self._steps[phase_name])
            return not seen.interrupted

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, None)
            if show is not None and steps is not None:
                with seen.holding_back():
                    show(phase_name, steps, steps)

    return Monitor()
