from __future__ import annotations

import math

import pytest
import torch

from jetspect.training.losses import dice_loss, one_hot, segmentation_loss

FAR = 100.0  # a logit whose sigmoid is 0 or 1 in float32


def test_dice_has_the_hand_computed_value() -> None:
    """p = (0.5, 0.5, 1, 0), g = (1, 0, 1, 0): overlap 1.5, squares 1.5 and 2."""
    logits = torch.tensor([[[[0.0, 0.0, FAR, -FAR]]]])
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    assert dice_loss(logits, target, smooth=0.0).item() == pytest.approx(1 - 2 * 1.5 / (1.5 + 2))
    assert dice_loss(logits, target, smooth=1.0).item() == pytest.approx(1 - (2 * 1.5 + 1) / (1.5 + 2 + 1))


def test_dice_is_zero_for_a_perfect_answer_also_where_nothing_is_to_find() -> None:
    target = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    perfect = (target * 2 - 1) * FAR
    assert dice_loss(perfect, target).item() == pytest.approx(0.0, abs=1e-6)
    assert dice_loss(perfect[1:], target[1:]).item() == pytest.approx(0.0, abs=1e-6)


def test_the_sum_is_weighted() -> None:
    logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    bce, dice = math.log(2), 1 - (2 * 0.5 + 1) / (0.5 + 1 + 1)
    assert segmentation_loss(logits, target, bce=1, dice=0).item() == pytest.approx(bce)
    assert segmentation_loss(logits, target, bce=0, dice=1).item() == pytest.approx(dice)
    assert segmentation_loss(logits, target, bce=0.05, dice=0.95).item() == pytest.approx(0.05 * bce + 0.95 * dice)


def test_a_batch_without_defects_still_has_a_finite_gradient() -> None:
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    segmentation_loss(logits, torch.zeros(1, 2, 4, 4), bce=0.5, dice=0.5).backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all()) and bool((logits.grad > 0).all())


def test_class_values_become_one_channel_per_class() -> None:
    mask = torch.tensor([[[0, 1, 2]]], dtype=torch.uint8)
    assert one_hot(mask, 2).tolist() == [[[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]]
