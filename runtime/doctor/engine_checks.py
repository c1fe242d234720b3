"""Does the model run here? From the bundle's files to golden tiles in the engine that the station would use."""

from __future__ import annotations

from jetspect.device.findings import Finding, fail, ok, skipped
from jetspect.errors import EngineError, JetspectError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.doctor.patient import Patient
from jetspect.runtime.engines import open_engine, require_graph
from jetspect.runtime.engines.options import open_cuda
from jetspect.runtime.engines.trt_binding import require_tensorrt
from jetspect.runtime.engines.trt_versions import parse_version, require_precision
from jetspect.runtime.views import ViewInspectors

_SYSTEM_PYTHON = "/usr/bin/python3"
_NO_BUNDLE = "the bundle cannot be used"


def check_bundle(patient: Patient) -> Finding:
    """Every file as it was written, and signed where the station asks for it."""
    bundle = _opened(patient)
    return ok(f"{bundle.manifest.name} {bundle.manifest.version}, every file is as it was written")


def check_graph(patient: Patient) -> Finding:
    """The bundle has the graph, and the TensorRT of this JetPack takes it."""
    bundle = _whole(patient)
    if bundle is None:
        return skipped(_NO_BUNDLE)
    require_graph(bundle, patient.precision)
    if not patient.on_tensorrt:
        return ok(f"the bundle has the {patient.precision} graph that {patient.kind} is to run")
    installed = patient.info.software.tensorrt
    if not installed:
        return skipped("no TensorRT is installed, so nothing says which graphs it takes")
    require_precision(parse_version(installed), patient.precision)
    jetpack = patient.info.board.jetpack
    of = f" (JetPack {jetpack})" if jetpack else ""
    return ok(f"TensorRT {installed}{of} takes the {patient.precision} graph")


def check_tensorrt(patient: Patient) -> Finding:
    """TensorRT belongs to the system's Python; this one must be able to see it."""
    try:
        version, _ = require_tensorrt()
    except MissingDependencyError:
        return _unseen(patient)
    return ok(f"TensorRT {version} can be imported")


def check_cuda(patient: Patient) -> Finding:
    with open_cuda() as cuda:
        info = cuda.info
        return ok(f"{info.name}, compute capability {info.compute_capability}, driver {info.driver}")


def check_golden(patient: Patient) -> Finding:
    """Open the engine as the station does, which proves it on the golden tiles; then see that the station's settings fit."""
    bundle = _whole(patient)
    if bundle is None:
        return skipped(_NO_BUNDLE)
    if patient.kind == "tensorrt" and check_tensorrt(patient).verdict == "fail":
        return skipped("TensorRT cannot be imported")
    engine, report = open_engine(
        bundle,
        kind=patient.kind,
        precision=patient.precision,
        threads=patient.threads,
        device=patient.options,
    )
    with engine:
        if patient.config is not None:
            ViewInspectors(bundle, engine, patient.config.inspectors).close()
        return ok(f"{engine.info}: {report}")


def _opened(patient: Patient) -> Bundle:
    if patient.bundle is None:
        slots = None if patient.config is None else patient.config.bundle.slots
        raise EngineError(f"nothing is deployed in {slots}; do it with: jetspect device deploy BUNDLE")
    return Bundle.open(patient.bundle, public_key=patient.public_key)


def _whole(patient: Patient) -> Bundle | None:
    """Return the bundle; None where it cannot be used, which one line is enough to say."""
    try:
        return _opened(patient)
    except JetspectError:
        return None


def _unseen(patient: Patient) -> Finding:
    software = patient.info.software
    python = software.python
    if not software.tensorrt_python:
        jetson = patient.info.board.is_jetson
        install = "sudo apt-get install python3-libnvinfer" if jetson else "pip install 'jetspect[tensorrt,cuda]'"
        return fail("TensorRT's Python package is not installed", install)
    folder = python.environment or "~/jetspect"
    anew = f"{_SYSTEM_PYTHON} -m venv --system-site-packages {folder}"
    if not python.sees_system_packages:
        return fail(f"apt has TensorRT {software.tensorrt_python}, and the environment {folder} does not see it", anew)
    return fail(
        f"apt has TensorRT {software.tensorrt_python} for {_SYSTEM_PYTHON}, and this is {python.executable} ({python.version})",
        f"{anew}   # then install jetspect into it",
    )
