from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from jetspect.training.losses import bce_loss, dice_loss, mse_loss, one_hot, weight_penalty

FAR = 100.0  # a logit whose sigmoid is 0 or 1 in float32


def every(logits: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(logits[:, :1])


def test_dice_has_the_hand_computed_value() -> None:
    """p = (0.5, 0.5, 1, 0), g = (1, 0, 1, 0): overlap 1.5, squares 1.5 and 2."""
    logits = torch.tensor([[[[0.0, 0.0, FAR, -FAR]]]])
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    assert dice_loss(logits, target, every(logits), smooth=0.0).item() == pytest.approx(1 - 2 * 1.5 / (1.5 + 2))
    assert dice_loss(logits, target, every(logits)).item() == pytest.approx(1 - (2 * 1.5 + 1) / (1.5 + 2 + 1))


def test_dice_is_zero_for_a_perfect_answer_also_where_nothing_is_to_find() -> None:
    target = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    perfect = (target * 2 - 1) * FAR
    assert dice_loss(perfect, target, every(target)).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(perfect[1:], target[1:], every(target)[1:]).item() == pytest.approx(0.0, abs=1e-6)


def test_dice_per_image_is_the_average_of_each_image_alone() -> None:
    """A small defect that is missed costs as much as a large one: pooled, it hardly counts."""
    target = torch.zeros(2, 1, 8, 8)
    target[0, 0, :, :4], target[1, 0, 0, 0] = 1.0, 1.0
    logits = (target * 2 - 1) * FAR
    logits[1] = -FAR
    pooled = dice_loss(logits, target, every(logits))
    apart = dice_loss(logits, target, every(logits), per_image=True)
    alone = [dice_loss(logits[i : i + 1], target[i : i + 1], every(logits)[i : i + 1]).item() for i in range(2)]
    assert apart.item() == pytest.approx(sum(alone) / 2) == pytest.approx(0.25)
    assert pooled.item() == pytest.approx(1 - (2 * 32 + 1) / (32 + 33 + 1)) and pooled < 0.02


def test_means_are_over_the_pixels_that_count() -> None:
    logits = torch.tensor([[[[0.0, 0.0, FAR]]]])
    target = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    assert bce_loss(logits, target, every(logits)).item() == pytest.approx((2 * math.log(2) + FAR) / 3)
    assert mse_loss(logits, target, every(logits)).item() == pytest.approx((0.25 + 0.25 + 1) / 3)
    but_last = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    assert bce_loss(logits, target, but_last).item() == pytest.approx(math.log(2))
    assert mse_loss(logits, target, but_last).item() == pytest.approx(0.25)
    assert dice_loss(logits, target, but_last, smooth=0.0).item() == pytest.approx(1 - 2 * 0.5 / (0.5 + 1))
    none = torch.zeros_like(but_last)
    assert bce_loss(logits, target, none).item() == mse_loss(logits, target, none).item() == 0.0


def test_two_classes_are_averaged() -> None:
    logits = torch.tensor([[[[0.0]], [[FAR]]]])
    target = torch.tensor([[[[1.0]], [[1.0]]]])
    assert bce_loss(logits, target, torch.ones(1, 1, 1, 1)).item() == pytest.approx(math.log(2) / 2)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_a_batch_without_defects_still_has_a_finite_gradient(loss: object) -> None:
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss(logits, torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4)).backward()  # type: ignore[operator]
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all()) and bool((logits.grad > 0).all())


def test_the_penalty_is_the_sum_of_squares_of_the_kernels_that_learn() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    for layer, value in ((model[0], 2.0), (model[2], 3.0), (model[3], 10.0)):
        nn.init.constant_(layer.weight, value)  # type: ignore[arg-type]
    model[3].requires_grad_(False)
    assert weight_penalty(model).item() == pytest.approx(4 + 9)


def test_class_values_become_one_channel_per_class() -> None:
    mask = torch.tensor([[[0, 1, 2, 255]]], dtype=torch.uint8)
    assert one_hot(mask, 2).tolist() == [[[[0.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]]]]
