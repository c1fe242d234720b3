"""What jetspect asks of TensorRT exists in the versions that it claims, checked on NVIDIA's own bindings on a CPU."""

from __future__ import annotations

import inspect
import json
from typing import Any

import fake_tensorrt
import pytest
import trt_bindings as nvidia
import trt_surface as table

from jetspect.runtime.engines.trt_versions import can_report_progress, parse_version

pytestmark = pytest.mark.timeout(290)


def test_the_table_has_every_name_in_the_sources_and_no_other() -> None:
    used = {use.name: use.where for path in table.sources() for use in table.uses(path)}
    assert len(table.sources()) >= 4
    assert not {f"{name} ({where})" for name, where in used.items() if name not in table.SURFACE}
    assert not set(table.SURFACE) - set(used)


def test_everything_that_tensorrt_returns_is_known_by_its_name() -> None:
    assert not [line for path in table.sources() for line in table.unknown_targets(path)]


def test_what_is_gone_is_never_named() -> None:
    for path in table.sources():
        assert not [name for name in table.NEVER if name in path.read_text()], path.name


def offers(classes: dict[str, Any], name: str) -> bool:
    first, *rest = name.split(".")
    if first not in classes:
        return False
    if not rest:
        return True
    if len(rest) == 2:
        return rest[1] in classes[first]["nested"].get(rest[0], ())
    return rest[0] in classes[first]["members"]


def test_every_name_is_there_in_the_versions_it_is_claimed_for_and_in_no_other(trt_version: str) -> None:
    classes = nvidia.surface(trt_version)
    wrong = [name for name, versions in table.SURFACE.items() if offers(classes, name) != (trt_version in versions)]
    assert not wrong


def accepts(overloads: list[list[list[Any]]], call: tuple[int, tuple[str, ...]]) -> bool:
    """Whether an overload takes so many positional arguments and these keywords."""
    count, keywords = call
    for parameters in overloads:
        names = [name for name, _ in parameters]
        required = {name for name, has_default in parameters if not has_default}
        given = {*names[:count], *keywords}
        if count <= len(names) and set(keywords) <= set(names[count:]) and required <= given:
            return True
    return False


def test_every_call_has_parameters_that_the_version_takes(trt_version: str) -> None:
    classes = nvidia.surface(trt_version)
    wrong, checked = [], 0
    for use in (use for path in table.sources() for use in table.uses(path)):
        if use.call is None or trt_version not in table.SURFACE[use.name]:
            continue
        first, _, member = use.name.partition(".")
        call = use.call
        if member == "__init__":
            call = (call[0] - 1, call[1])  # called on the class, with self
        overloads = classes[first]["members"][member or "__init__"]
        checked += 1
        if not accepts(overloads, call):
            wrong.append(f"{use.where}: {use.name} {use.call}, {overloads}")
    assert not wrong
    assert checked > 30


def test_memory_that_the_sources_copy_can_be_read(trt_version: str) -> None:
    assert nvidia.surface(trt_version)["IHostMemory"]["buffer"]


def test_the_stand_in_offers_nothing_else_and_everything_that_is_used(trt_version: str) -> None:
    fake, classes = fake_tensorrt.make(trt_version), nvidia.surface(trt_version)
    for name, cls in vars(fake).items():
        if not isinstance(cls, type):
            continue
        for member, value in vars(cls).items():
            if member.startswith("_") or member == "Severity":
                continue
            assert offers(classes, f"{name}.{member}"), f"{name}.{member} is not in TensorRT {trt_version}"
            if inspect.isfunction(value):
                ours = list(inspect.signature(value).parameters)[1:]
                overloads = [[p for p, _ in overload] for overload in classes[name]["members"][member]]
                assert any(ours == theirs[: len(ours)] for theirs in overloads), f"{name}.{member}{ours}: {overloads}"
    attributes = {
        "builder_optimization_level",
        "profiling_verbosity",
        "progress_monitor",
        "profiler",
    }  # made in __init__
    for name, versions in table.SURFACE.items():
        if trt_version in versions and name.split(".")[-1] not in attributes:
            held: Any = fake
            for part in name.split("."):
                assert hasattr(held, part), f"the stand-in has no {name}"
                held = getattr(held, part)


RUN = """
import contextlib, json, logging
logging.disable()
import tensorrt as trt
from jetspect.errors import EngineError
from jetspect.runtime.engines import attempt, build, tensorrt, trt_binding
from jetspect.runtime.cuda.base import CudaInfo

text, version = trt_binding.require_tensorrt()
told = {"version": text, "dims": list(tuple(trt.Dims((2, 384, 384, 3))))}

log = trt_binding.TrtLog()
for severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INFO, trt.ILogger.Severity.ERROR):
    log.logger.log(severity, "a  fault")
told["errors"] = log.take()

shown = []
if trt_binding.parse_version(text) >= (10,):
    monitor = attempt._monitor(log, lambda *step: shown.append(step))
    monitor.phase_start("Building", None, 3)
    told["goes on"] = monitor.step_complete("Building", 1)
    monitor.phase_finish("Building")
    assert isinstance(monitor, trt.IProgressMonitor)
told["shown"] = shown

class NoCuda:
    current, synchronise = contextlib.nullcontext, lambda self: None
    info, stream = CudaInfo("none", (0, 0), False, (0, 0), 0), 0

graph = open("bundles/metal-demo/model.fp16.onnx", "rb").read()
request = build.BuildRequest(graph, "fp16", (1, 384, 384, 3), 3, 1 << 30)
for name, work in (
    ("build", lambda: build.build_plan(request)),
    ("load", lambda: tensorrt.TensorRtEngine(b"", cuda=NoCuda(), shape=(1, 8, 8, 3), precision="fp16")),
):
    try:
        work()
    except EngineError as error:
        told[name] = str(error)
print(json.dumps(told))
"""


def test_what_needs_no_library_runs_on_the_real_bindings(trt_version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(nvidia.REPOSITORY)
    told = json.loads(nvidia.run(trt_version, RUN))
    assert told["version"] == trt_version and told["dims"] == [2, 384, 384, 3]
    assert told["errors"] == ["a fault"], "each error once, and no messages that are none"
    talks = can_report_progress(parse_version(trt_version))
    assert told.get("goes on") is (True if talks else None)
    assert told["shown"] == ([["Building", 2, 3], ["Building", 3, 3]] if talks else [])
    assert told["build"].startswith("TensorRT cannot start a build: TensorRT gives no reason; check that the GPU works")
    assert told["load"].startswith("TensorRT cannot start: TensorRT gives no reason; check that the GPU works")


def test_flags_are_shifted_by_the_numbers_of_the_version(trt_version: str) -> None:
    """STRONGLY_TYPED is bit 1 in TensorRT 10 and bit 0 in 11."""
    code = (
        "import tensorrt\nfrom jetspect.runtime.engines import attempt, trt_versions\n"
        f"branch = trt_versions.branch_for({parse_version(trt_version)}, 'fp16')\nprint(attempt._network_flags(branch))"
    )
    assert int(nvidia.run(trt_version, code)) == {"8.6.1": 1, "10.3.0": 0, "10.13.3.9": 2, "11.4.0.106": 1}[trt_version]
