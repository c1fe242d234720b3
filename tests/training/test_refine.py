from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from jetspect.calibration.prepare import class_specs
from jetspect.evaluation.metrics import Confusion, confusion
from jetspect.models.checkpoint import Checkpoint
from jetspect.models.registry import MODELS
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components, paint
from jetspect.training.refine import refine

U8 = npt.NDArray[np.uint8]


def read_scores_off_the_image() -> nn.Module:
    """A model whose probability is the grey value / 255 where mean is 128 and std 32."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.logit(((x * 32 + 128) / 255 * self.gain).clamp(1e-4, 1 - 1e-4))

    return Reader()


def scene(seed: int) -> tuple[U8, U8]:
    """A defect with a bright core and a dim rim; beside it dim false blobs as large, and one bright speck."""
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 6, (96, 128)).astype(np.uint8), np.zeros((96, 128), np.uint8)
    truth[20:40, 30:60] = 1
    scores[20:40, 30:60] = 90
    scores[26:34, 40:50] = 240
    scores[60:75, 80:105] = 95
    scores[80:82, 10:12] = 250
    return scores, truth


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(MODELS, "reader", read_scores_off_the_image)
    checkpoint = Checkpoint(
        "reader", {}, ("spot",), 1, (128.0,), (32.0,), read_scores_off_the_image().state_dict(), info={"seed": 1}
    )
    checkpoint.save(tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_hysteresis_and_area_are_fitted_where_one_threshold_is_not_enough(path: Path) -> None:
    fitted = refine(path, [scene(seed) for seed in range(3)])
    assert fitted.thresholds_low[0] * 255 <= 90 and 95 < fitted.thresholds[0] * 255 <= 240
    assert fitted.min_area_px[0] > 4
    assert fitted.info["val_iou"] == fitted.info["val_iou_mean"] == 1.0
    assert fitted.info["seed"] == 1 and fitted.info["limits_fitted_on"] == "3 val images"


def test_the_file_holds_what_was_returned_and_its_iou_is_the_runtime_s(path: Path) -> None:
    rng = np.random.default_rng(5)
    pairs: list[tuple[U8, U8]] = []
    for seed in range(4):
        scores, truth = scene(seed)
        pairs.append((np.clip(scores + rng.normal(0, 40, scores.shape), 0, 255).astype(np.uint8), truth))
    refine(path, pairs)
    loaded = Checkpoint.load(path)
    spec = ClassSpec(
        name="spot",
        threshold=loaded.thresholds[0],
        threshold_low=loaded.thresholds_low[0],
        min_area_px=loaded.min_area_px[0],
    )
    output = OutputContract(classes=(spec,))
    # The image is the score map: the model above answers what it sees.
    counts = [confusion(paint(find_components(s[None], output), s.shape) > 0, t > 0) for s, t in pairs]
    assert loaded.info["val_iou"] == pytest.approx(sum(counts, Confusion()).iou, abs=1e-3)


def test_whole_defects_as_the_goal_give_limits_that_reach_the_bundle(path: Path) -> None:
    pairs = [scene(seed) for seed in range(3)]
    for scores, _ in pairs:
        scores[90:92, 2:126] = 250  # a streak that is as bright as a defect and larger than the specks
    fitted = refine(path, pairs, goal="objects")
    assert fitted.info["limits_fitted_for"] == "objects"
    (spec,) = class_specs(Checkpoint.load(path))
    assert (spec.max_area_px, spec.max_aspect) == (fitted.max_area_px[0], fitted.max_aspect[0])
    found = [find_components(s[None], OutputContract(classes=(spec,))) for s, _ in pairs]
    assert [len(c) for c in found] == [1, 1, 1]
