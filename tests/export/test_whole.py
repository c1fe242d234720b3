"""From a segmentation and decision network to a bundle that runs: both outputs proven, nothing tiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import Tensor, nn

from jetspect.errors import ExportError
from jetspect.export import whole as module
from jetspect.export.bundle import ExportJob, export_bundle
from jetspect.export.graph import FrameGraph, float_twin, fold_batch_norm, to_onnx
from jetspect.export.job import check_job
from jetspect.export.whole import graph_answers, torch_answers
from jetspect.models.segdec import SegDecNet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import ClassSpec, Precision
from jetspect.runtime.onnx_scan import scan_onnx
from jetspect.runtime.whole import fit_frame

U8 = npt.NDArray[np.uint8]
Job = Callable[..., ExportJob]
WIDTH, HEIGHT = FRAME_WH = (128, 64)


def frames(texture: Callable[..., U8], count: int = 4) -> U8:
    return np.stack([fit_frame(texture(256, seed), FRAME_WH, 1) for seed in range(count)])


@pytest.fixture(scope="module")
def whole_job(job: Job, trained: Callable[..., nn.Module], texture: Callable[..., U8]) -> Job:
    def make(**changes: Any) -> ExportJob:
        model = trained(SegDecNet(width=0.0625))
        nn.init.normal_(model.decision.head.weight, std=0.3)
        nn.init.zeros_(model.decision.head.bias)
        parts = {
            "model": model,
            "classes": (ClassSpec(name="crack", threshold=0.5),),
            "mean": (120.0,),
            "std": (50.0,),
            "tiles": frames(texture),
            "frame_wh": FRAME_WH,
            "decision_threshold": 0.4,
        }
        return job(**{**parts, **changes})

    return make


@pytest.fixture(scope="module")
def exported(whole_job: Job, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("whole") / "b"
    export_bundle(whole_job(description="Finds cracks."), out)
    return Bundle.open(out)


def test_the_bundle_says_that_it_is_never_tiled_and_who_decides(exported: Bundle) -> None:
    manifest = exported.manifest
    tiling = manifest.tiling
    assert (tiling.mode, tiling.frame_wh, tiling.stride_px, tiling.halo_px) == ("whole", FRAME_WH, 8, 0)
    assert manifest.output.decision is not None and manifest.output.decision.threshold == 0.4
    fp32, fp16 = (manifest.graphs[p].parity for p in ("fp32", "fp16"))
    assert fp32.decision_max_abs is not None and fp16.decision_max_abs is not None
    assert max(fp32.max_abs, fp32.decision_max_abs) < 1e-5 < max(fp16.max_abs, fp16.decision_max_abs) < 0.02
    golden = exported.golden()
    assert golden.tiles.shape == (2, HEIGHT, WIDTH, 1) and golden.scores.shape == (2, 1, HEIGHT, WIDTH)
    assert golden.decisions is not None and golden.decisions.shape == (2, 1)
    report = json.loads(exported.file("report.json"))
    assert (report["frame_wh"], report["left_out"]) == (list(FRAME_WH), {})
    card = exported.file("MODEL_CARD.md").decode()
    assert "the whole frame is resized to 128 x 64 px" in card and "NOK at or above 0.400" in card


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graphs_are_clean_and_of_one_size(exported: Bundle, precision: Precision) -> None:
    data = exported.graph(precision)
    info = scan_onnx(data)
    assert [str(v) for v in info.inputs] == [f"tiles_u8: uint8 N x {HEIGHT} x {WIDTH} x 1"]
    assert [str(v) for v in info.outputs] == [
        f"scores_u8: uint8 N x 1 x {HEIGHT} x {WIDTH}",
        "decision_u8: uint8 N x 1",
    ]
    assert info.foreign == info.external == ()
    operators = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert operators.count("Resize") == operators.count("Gemm") == operators.count("Transpose") == 1
    assert not {"BatchNormalization", "Shape", "Reshape", "Gather"} & set(operators)


def test_the_runtime_answers_what_the_network_answers(exported: Bundle, whole_job: Job, texture: Any) -> None:
    """From a frame of another size and in colour to the score map in its pixels, by way of PyTorch."""
    frame = texture(256, 9)[:200]
    mask, decision = torch_answers(whole_job())(fit_frame(frame, FRAME_WH, 1)[None])
    engine, _ = open_engine(exported)
    with Inspector(exported, engine) as inspector:
        inspection = inspector.inspect(Frame(frame, "one"))
        scores = inspector.score_map(frame)
    assert inspection.decision is not None and abs(inspection.decision - float(decision[0, 0])) <= 0.6 / 255
    assert (inspection.verdict.value == "NOK") == (inspection.decision >= 0.4)
    assert scores.shape == (1, 200, 256)
    small = fit_frame(scores[0], FRAME_WH, 1)[:, :, 0]
    assert np.abs(small - 255 * mask[0, 0]).mean() < 6


def test_a_batch_is_decided_image_by_image(exported: Bundle, texture: Any) -> None:
    with OnnxRuntimeEngine(exported.graph("fp32")) as engine:
        batch = frames(texture, 3)
        engine.run(batch)
        together = engine.decisions
        assert together is not None
        for i in range(3):
            engine.run(batch[i : i + 1])
            assert engine.decisions is not None
            assert abs(int(engine.decisions[0, 0]) - int(together[i, 0])) <= 1


def test_instance_norm_travels_in_the_graph_at_single_precision_accuracy(trained: Any, texture: Any) -> None:
    torch.manual_seed(1)
    model = fold_batch_norm(SegDecNet(width=0.0625, norm="instance").eval())
    graph = to_onnx(FrameGraph(model, (120.0,), (50.0,)), channels=1, frame_wh=FRAME_WH)
    batch = frames(texture, 2)
    with torch.no_grad():
        expected = FrameGraph(model, (120.0,), (50.0,), as_float=True)(torch.from_numpy(batch))
    for got, wanted in zip(graph_answers(float_twin(graph))(batch), expected, strict=True):
        assert np.abs(got - wanted.numpy()).max() < 1e-4
    assert "InstanceNormalization" in {n.op_type for n in onnx.load_from_string(graph).graph.node}


def test_a_half_graph_that_is_too_far_off_is_left_out_and_the_card_says_why(
    whole_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = whole_job().model
    with torch.no_grad():  # beyond what half precision can hold
        model.segmentation.features[0].weight.mul_(4e4)
        model.segmentation.features[3].weight.mul_(4e4)
    monkeypatch.setattr(module, "MIN_CONTRAST", 0.0)
    steps: list[str] = []
    manifest = export_bundle(whole_job(model=model), tmp_path / "b", report=steps.append)
    assert set(manifest.graphs) == {"fp32"}
    left_out = json.loads((tmp_path / "b" / "report.json").read_text())["left_out"]
    assert "the fp16 graph differs from the model" in left_out["fp16"]
    assert f"No fp16 graph: {left_out['fp16']}" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert any(step.startswith("no fp16 graph") for step in steps)


class Plain(nn.Conv2d):
    whole_frame = True


class Undecided(nn.Module):
    """A mask of half the size, and a decision per class instead of one."""

    def __init__(self, decisions: int = 2, fill: float = 0.0) -> None:
        super().__init__()
        self.conv, self.decisions, self.fill = nn.Conv2d(1, 1, 2, stride=2), decisions, fill

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = self.conv(x) * 0 + self.fill
        return mask, mask.mean(dim=(2, 3)).repeat(1, self.decisions)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame_wh": None, "tiles": np.zeros((2, 64, 64, 1), np.uint8)}, "a SegDecNet sees whole frames of one size"),
        (
            {"tiles": np.zeros((2, 128, 64, 1), np.uint8)},
            r"frames must be uint8 N x 64 x 128 x 1 or 3, got uint8 \(2, 128",
        ),
        ({"tile_px": 64}, "it has no tiles of 64 px: leave tile_px out"),
        ({"decision_threshold": 1.5}, "threshold must be 0 to 1, got 1.5"),
        ({"frame_wh": (32, 32), "tiles": np.zeros((2, 32, 32, 1), np.uint8)}, "the model takes no frame of 32 x 32 px"),
        ({"frame_wh": (132, 64), "tiles": np.zeros((2, 64, 132, 1), np.uint8)}, "a mask 2 x 1 x 64/s x 132/s"),
        ({"model": Plain(1, 1, 1)}, "the model answers Tensor for two frames"),
        ({"model": Undecided()}, r"answers \[\(2, 1, 32, 64\), \(2, 2\)\]"),
        ({"model": Undecided(1)}, "the model answers the same everywhere"),
        ({"model": Undecided(1, float("nan"))}, "the model answers NaN or infinity"),
        ({"classes": (ClassSpec(name="a"), ClassSpec(name="b"))}, "for the 2 classes given"),
    ],
)
def test_what_breaks_the_contract_is_refused_in_one_line_and_leaves_nothing(
    whole_job: Job, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        export_bundle(whole_job(**{"golden": 2, **changes}), tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_whole_job_needs_no_texture(whole_job: Job) -> None:
    check_job(whole_job(texture=np.zeros((1, 1), np.uint8)))
