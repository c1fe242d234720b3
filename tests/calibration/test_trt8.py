"""The graph for TensorRT 8.6 leaves transposed convolutions in FP16 where one scale each loses too much, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest

from jetspect.calibration.calibrate import calibrate
from jetspect.calibration.gate import Limits, Row
from jetspect.calibration.network import Network
from jetspect.calibration.options import CalibrateOptions
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.quantize import Plan
from jetspect.calibration.report import trt8_forms
from jetspect.calibration.trt8 import Trt8Step, transposed_nodes, trt8_notes, why_not
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine

Make = Callable[..., CalibrateOptions]


@dataclass(frozen=True)
class Refusing(Limits):
    """Limits that the first ``refuse`` graphs for TensorRT 8.6 break, whatever they reach."""

    refuse: int = 1
    seen: list[Row] = field(default_factory=list)

    def faults(self, fp32: Row, other: Row) -> tuple[str, ...]:
        if other.name != "int8-trt8":
            return ()
        if not any(r is other for r in self.seen):
            self.seen.append(other)
        refused = any(r is other for r in self.seen[: self.refuse])
        return ("int8-trt8 loses 0.2 of IoU",) if refused else ()


def dequantised(bundle: Bundle, precision: str) -> set[str]:
    """Return the kinds of convolution that read dequantised weights."""
    graph = onnx.load_from_string(bundle.graph(precision)).graph  # type: ignore[arg-type]
    pairs = {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return {n.op_type for n in graph.node if n.op_type in ("Conv", "ConvTranspose") and n.input[1] in pairs}


def test_as_it_is_where_that_passes(done: tuple[Path, Outcome, list[str]]) -> None:
    path, outcome, _ = done
    (step,) = outcome.trt8
    assert (step.transposed, step.taken, step.int8_share) == ("one scale", True, outcome.int8_share)
    assert dequantised(Bundle.open(path), "int8-trt8") == {"Conv", "ConvTranspose"}
    assert not any("int8-trt8" in note for note in outcome.notes)


def test_without_transposed_convolutions_where_one_scale_each_loses_too_much(copied: Path, options: Make) -> None:
    outcome = calibrate(copied, options(method="min-max", limits=Refusing()))
    bundle = Bundle.open(copied)
    assert dequantised(bundle, "int8-trt8") == {"Conv"}
    assert dequantised(bundle, "int8") == {"Conv", "ConvTranspose"}
    engine, report = open_engine(bundle, precision="int8-trt8")
    engine.close()
    assert report.max_levels <= 1
    ours, theirs = (bundle.manifest.graphs[p].recipe for p in ("int8-trt8", "int8"))
    assert ours["int8_share"] < theirs["int8_share"]
    assert set(ours["fp16_blocks"]) - set(theirs["fp16_blocks"]) == {"upsample.0"}
    record = json.loads((copied / "calibration.json").read_text())
    assert [(s["transposed"], s["taken"]) for s in record["trt8"]] == [("one scale", False), ("fp16", True)]
    assert record["trt8"][0]["faults"] == ["int8-trt8 loses 0.2 of IoU"]
    assert record["trt8"][1]["accuracy"] == bundle.manifest.graphs["int8-trt8"].accuracy
    (note,) = (n for n in outcome.notes if "int8-trt8" in n)
    assert note == (
        f"int8-trt8 leaves transposed convolutions in FP16 ({ours['int8_share']:.1%} of the multiply-adds in INT8): "
        "with one scale per transposed convolution, int8-trt8 loses 0.2 of IoU"
    )
    assert note in (copied / "MODEL_CARD.md").read_text()
    assert [f[0] for f in trt8_forms(outcome)] == [
        "with one scale per transposed convolution",
        "with transposed convolutions in FP16",
    ]


def test_no_graph_where_neither_passes(copied: Path, options: Make) -> None:
    outcome = calibrate(copied, options(method="min-max", limits=Refusing(refuse=2)))
    assert outcome.passed and "int8-trt8" not in Bundle.open(copied).manifest.graphs
    assert not (copied / "model.int8-trt8.onnx").exists()
    assert (
        "no int8-trt8 graph: with one scale per transposed convolution, int8-trt8 loses 0.2 of IoU; "
        "with transposed convolutions in FP16, int8-trt8 loses 0.2 of IoU"
    ) in outcome.notes


def test_too_little_int8_is_not_tried(copied: Path, options: Make, done: tuple[Path, Outcome, list[str]]) -> None:
    limits = Refusing()
    outcome = calibrate(copied, options(method="min-max", limits=limits, least_int8=done[1].int8_share))
    assert len(limits.seen) == 1 and "int8-trt8" not in Bundle.open(copied).manifest.graphs
    assert [s.transposed for s in outcome.trt8] == ["one scale", "fp16"]
    assert "of the multiply-adds would be INT8" in outcome.trt8[1].faults[0]
    assert trt8_forms(outcome)[1][2] == "-"


def test_only_transposed_convolutions_of_the_plan_count(networks: dict[str, Network]) -> None:
    network = networks["residual"]
    (name,) = (n.name for n in network.nodes if n.op_type == "ConvTranspose")
    convolution = next(n.name for n in network.nodes if n.op_type == "Conv")
    assert transposed_nodes(network, Plan(frozenset({name, convolution}), {})) == {name}
    assert not transposed_nodes(network, Plan(frozenset({convolution}), {}))


@pytest.mark.parametrize("faults", [(), ("int8-trt8 loses 0.2 of IoU",)])
def test_where_there_is_no_transposed_convolution_there_is_nothing_to_say(faults: tuple[str, ...]) -> None:
    steps = (Trt8Step("none", 0.9, faults, {}),)
    assert trt8_notes(steps) == ()
    assert why_not(steps) == "".join(faults)
