"""The INT8 graphs of a bundle, each for what executes it: TensorRT 10 and later, TensorRT 8.6, x86 processors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from jetspect.calibration.network import Network
from jetspect.calibration.quantize import Plan, Ranges, quantise, quantise_for_cpu
from jetspect.calibration.speed import compare
from jetspect.export.typed import float_types, to_half
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import Precision

# The highest that the parser of TensorRT 8.6 takes.
TRT8_OPSET = 17
# A CPU graph that is slower than FP32 where it is made is not worth its place in the bundle.
LEAST_SPEEDUP = 1.0


@dataclass(frozen=True)
class Graphs:
    """Graphs by precision, and what was left out.

    Attributes
    ----------
    plan
        What all of them follow but the one for TensorRT 8.6.
    trt8_plan
        What that one follows.
    exact
        The int8 graph with FP32 instead of FP16 between the Q/DQ pairs: how far rounding alone moves its answers.
    cpu_speedup
        How many times faster than FP32 the CPU graph ran here; below 1 it is left out.
    """

    data: dict[Precision, bytes]
    plan: Plan
    trt8_plan: Plan
    exact: bytes
    cpu_speedup: float
    notes: tuple[str, ...] = ()

    def nodes(self, precision: Precision) -> frozenset[str]:
        """Return the convolutions that are INT8 in one of the graphs."""
        return (self.trt8_plan if precision == "int8-trt8" else self.plan).nodes

    def with_trt8(self, fp32: bytes, plan: Plan) -> Graphs:
        """Return the same with another graph for TensorRT 8.6."""
        return replace(self, data={**self.data, "int8-trt8": _make_trt8(Network(fp32), plan)}, trt8_plan=plan)


def make_graphs(fp32: bytes, plan: Plan, every_range: Ranges, tile: npt.NDArray[np.uint8]) -> Graphs:
    """Quantise a bundle's FP32 graph according to a plan.

    Parameters
    ----------
    every_range
        Of all activations, for the CPU graph.
    tile
        uint8 1 x T x T x C, to time the CPU graph on.
    """
    network = Network(fp32)
    exact = quantise(network, plan)
    int8 = to_half(exact)
    float_types(int8)  # refuses a graph that is not strongly typed
    data: dict[Precision, bytes] = {"int8": int8, "int8-trt8": _make_trt8(network, plan)}
    cpu = quantise_for_cpu(network, Plan(plan.nodes, every_range))
    with OnnxRuntimeEngine(fp32) as slow, OnnxRuntimeEngine(cpu, precision="int8-cpu") as fast:
        spent = compare({"fp32": slow, "int8-cpu": fast}, tile, runs=10)
    speedup = spent["fp32"].median_ms / spent["int8-cpu"].median_ms
    if speedup >= LEAST_SPEEDUP:
        return Graphs({**data, "int8-cpu": cpu}, plan, plan, exact, speedup)
    why = f"no int8-cpu graph: on this processor it would be {speedup:.2f} times as fast as FP32"
    return Graphs(data, plan, plan, exact, speedup, (why,))


def _make_trt8(network: Network, plan: Plan) -> bytes:
    return lower_opset(quantise(network, plan, transposed_per_tensor=True), TRT8_OPSET)


def lower_opset(graph: bytes, opset: int) -> bytes:
    """Return the graph with a lower opset where all its operators are the same in both; else as it is."""
    model = onnx.load_from_string(graph)
    for version in model.opset_import:
        if version.domain not in ("", "ai.onnx") or version.version <= opset:
            continue
        kinds = {n.op_type for n in model.graph.node}
        if all(onnx.defs.get_schema(k, max_inclusive_version=version.version).since_version <= opset for k in kinds):
            version.version = opset
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data
