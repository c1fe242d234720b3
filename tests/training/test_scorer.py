from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jetspect.models.unet import UNet
from jetspect.training.scorer import Scorer


@pytest.mark.parametrize("size", [(64, 64), (50, 37), (16, 130)])
def test_images_of_any_size_are_scored_whole(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = UNet(width=4, depth=2, stem_stride=2, classes=2).eval()
    mean, std = (torch.full((1, 3, 1, 1), v) for v in (128.0, 64.0))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    scores = Scorer(model, mean, std)(image).scores
    assert scores.shape == (2, *size) and scores.dtype == np.uint8 and scores.flags.c_contiguous
    assert 0 < int(scores.min()) <= int(scores.max()) < 255


class Coarse(nn.Module):
    """Answers the grey value as logit at a quarter of the resolution, and its mean as decision."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return nn.functional.avg_pool2d(x, 4), x.mean(dim=(1, 2, 3), keepdim=False)[:, None]


def test_whole_images_are_resized_and_their_scores_scaled_back() -> None:
    image = np.full((90, 140), 128, np.uint8)
    image[:, :70] = 28
    zero, one = torch.full((1, 1, 1, 1), 128.0), torch.full((1, 1, 1, 1), 25.0)
    found = Scorer(Coarse().eval(), zero, one, whole_wh=(64, 32))(image)
    assert found.scores.shape == (1, 90, 140)
    assert found.scores[0, 45, 5] == round(255 / (1 + np.exp(4))) and found.scores[0, 45, 135] == 128
    assert found.decision == round(255 / (1 + np.exp(2)))
