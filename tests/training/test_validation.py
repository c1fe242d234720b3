from __future__ import annotations

import numpy as np
import pytest
import torch

from jetspect.evaluation.metrics import confusion
from jetspect.models.unet import UNet
from jetspect.training.validation import score_image, threshold_curves


def test_curves_are_the_iou_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, (20, 30)).astype(np.uint8) for _ in range(3)]
    masks[2][masks[2] == 2] = 0  # one image without the second class: not in that class's mean
    scores = {id(m): rng.integers(0, 256, (2, 20, 30)).astype(np.uint8) for m in masks}
    curves = threshold_curves([(m, m) for m in masks], lambda image: scores[id(image)], 2)
    for k, level in ((0, 1), (0, 128), (1, 200), (1, 255)):
        counts = [confusion(scores[id(m)][k] >= level, m == k + 1) for m in masks]
        with_class = [c.iou for c in counts if c.tp + c.fn]
        assert curves[k].iou[level - 1] == pytest.approx((counts[0] + counts[1] + counts[2]).iou)
        assert curves[k].iou_mean[level - 1] == pytest.approx(np.mean(with_class))
    best = curves[0].best_level
    assert (curves[0].iou + curves[0].iou_mean)[best - 1] == (curves[0].iou + curves[0].iou_mean).max()


@pytest.mark.parametrize("size", [(64, 64), (50, 37), (16, 130)])
def test_images_of_any_size_are_scored_whole(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = UNet(width=4, depth=2, stem_stride=2, classes=2).eval()
    mean, std = (torch.full((1, 3, 1, 1), v) for v in (128.0, 64.0))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    scores = score_image(model, image, mean, std, bfloat16=False)
    assert scores.shape == (2, *size) and scores.dtype == np.uint8 and scores.flags.c_contiguous
    assert 0 < int(scores.min()) <= int(scores.max()) < 255
