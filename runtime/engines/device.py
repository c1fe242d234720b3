"""From a bundle to a proven TensorRT engine: which one, was it built, does it still fit this device."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from jetspect import __version__
from jetspect.errors import EngineMissingError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Cuda, CudaInfo
from jetspect.runtime.engines.attempt import BuildRequest, Progress
from jetspect.runtime.engines.build import BUILDER_REVISION, build_plan, workspace_for
from jetspect.runtime.engines.cache import EngineStore, default_folder
from jetspect.runtime.engines.options import DEFAULT_OPT_LEVEL, DeviceOptions, open_cuda, prove, tile_shape
from jetspect.runtime.engines.sidecar import EngineKey, Sidecar
from jetspect.runtime.engines.tensorrt import TensorRtEngine
from jetspect.runtime.engines.trt_binding import require_tensorrt
from jetspect.runtime.engines.trt_versions import branch_for
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.manifest import Precision


@dataclass(frozen=True)
class BuildReport:
    """An engine in its folder, proven; ``fresh`` where it was built now and not found there."""

    path: Path
    sidecar: Sidecar
    golden: GoldenReport
    fresh: bool


def open_device_engine(
    bundle: Bundle, precision: Precision, options: DeviceOptions
) -> tuple[TensorRtEngine, GoldenReport]:
    """Load the engine that was built for this bundle on this device, and prove it. Closing it closes the device.

    Raises
    ------
    MissingDependencyError
        TensorRT or PyCUDA is not installed.
    EngineError
        There is no such engine, or it cannot be trusted or run; names the command that builds it.
    GoldenMismatchError
        It does not reproduce the golden tiles.
    """
    with ExitStack() as opened:
        store, cuda, key = _prepare(bundle, precision, options, opened)
        found = store.load(key)
        if found is None:
            raise EngineMissingError(_not_built(bundle, key, options, store))
        engine = _open(found[0], key, cuda, options)
        opened.pop_all()  # from here on the engine closes the device
        opened.push(engine)
        report = prove(engine, bundle, key.precision)
        opened.pop_all()
        return engine, report


def build_engine(
    bundle: Bundle,
    precision: Precision,
    options: DeviceOptions,
    *,
    rebuild: bool = False,
    show: Progress | None = None,
) -> BuildReport:
    """Build an engine on this device, prove it and keep it; one that is already there is proven only.

    An engine that does not reproduce the golden tiles is not kept.

    Parameters
    ----------
    rebuild
        Build even where there is one, also where that one cannot be trusted.

    Raises
    ------
    MissingDependencyError, EngineError, GoldenMismatchError
        As :func:`open_device_engine`; and EngineError where no step of the ladder builds it.
    """
    with ExitStack() as opened:
        store, cuda, key = _prepare(bundle, precision, options, opened)
        opened.enter_context(store.lock())
        found = None if rebuild else store.load(key)
        plan, sidecar = found or _build(bundle, key, cuda, store, show)
        with _open(plan, key, cuda, options) as engine:
            golden = prove(engine, bundle, key.precision)
            if found is not None:
                return BuildReport(store.engine(key), sidecar, golden, fresh=False)
            sidecar = sidecar.model_copy(update={"layers": engine.layers()})
        return BuildReport(store.save(plan, sidecar), sidecar, golden, fresh=True)


def _prepare(
    bundle: Bundle, precision: Precision, options: DeviceOptions, opened: ExitStack
) -> tuple[EngineStore, Cuda, EngineKey]:
    """Refuse what cannot work before anything is opened; then open the folder and the device."""
    text, version = require_tensorrt()
    branch = branch_for(version, precision)
    shape = tile_shape(bundle.manifest, options)
    store = EngineStore(options.folder or default_folder())
    cuda = opened.enter_context(open_cuda())
    info: CudaInfo = cuda.info
    key = EngineKey(
        graph_sha256=bundle.manifest.graphs[precision].sha256,
        precision=precision,
        shape_nhwc=shape,
        tensorrt=text,
        gpu=info.name,
        compute_capability=info.compute_capability,
        driver=info.driver,
        typing="strong" if branch.strong else "weak",
        flags=branch.flags,
        tf32=branch.tf32,
        opt_level=options.opt_level,
        builder_revision=BUILDER_REVISION,
    )
    return store, cuda, key


def _build(
    bundle: Bundle, key: EngineKey, cuda: Cuda, store: EngineStore, show: Progress | None
) -> tuple[bytes, Sidecar]:
    timings = _timings_name(key)
    request = BuildRequest(
        graph=bundle.graph(key.precision),
        precision=key.precision,
        shape=key.shape_nhwc,
        opt_level=key.opt_level,
        workspace_bytes=workspace_for(cuda.free_bytes()),
        timing_cache=store.timing_cache(timings),
    )
    with cuda.current():
        built = build_plan(request, show)
    if built.timing_cache:
        store.save_timing_cache(timings, built.timing_cache)
    sidecar = Sidecar(
        key=key,
        bundle=f"{bundle.manifest.name} {bundle.manifest.version}",
        jetspect=__version__,
        created=datetime.now(timezone.utc),
        build_s=round(built.seconds, 3),
        steps=built.steps,
        engine_sha256=sha256(built.plan).hexdigest(),
        engine_bytes=len(built.plan),
    )
    return built.plan, sidecar


def _open(plan: bytes, key: EngineKey, cuda: Cuda, options: DeviceOptions) -> TensorRtEngine:
    return TensorRtEngine(
        plan, cuda=cuda, shape=key.shape_nhwc, precision=key.precision, owns_cuda=True, cuda_graph=options.cuda_graph
    )


def _timings_name(key: EngineKey) -> str:
    """Name what kernel timings hold for: one version of TensorRT on one kind of device."""
    text = repr((key.tensorrt, key.gpu, key.compute_capability, key.driver))
    return f"kernels-{key.tensorrt}-{sha256(text.encode()).hexdigest()[:16]}"


def _not_built(bundle: Bundle, key: EngineKey, options: DeviceOptions, store: EngineStore) -> str:
    batch, height, width, _ = key.shape_nhwc
    command = f"jetspect build {bundle.path} --precision {key.precision}"
    if bundle.manifest.tiling.frame_wh is None:
        command += f" --tile {height} --batch {batch}"
    if options.opt_level != DEFAULT_OPT_LEVEL:
        command += f" --opt-level {options.opt_level}"
    if options.folder is not None:
        command += f" --engine-dir {options.folder}"
    other = store.nearest(key, bundle.manifest.name)
    why = f"the nearest there has {', '.join(other)}" if other else "none was built there"
    return (
        f"{store.folder} has no {key.precision} engine of {bundle.manifest.name} for {batch} x {width} x {height} px on "
        f"this device ({why}); build it with: {command}"
    )
