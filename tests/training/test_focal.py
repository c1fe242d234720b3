"""The focal loss against numbers worked by hand and against an independent computation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from jetspect.errors import InputError
from jetspect.training.focal import FocalSettings, batch_weights, focal_loss, pixel_weights

PLAIN = FocalSettings(band_gain=0, small_gain=0)


def test_hand_worked_numbers() -> None:
    """p = 0.8 on a defect: 0.2^2 * -ln 0.8 = 0.04 * 0.22314; p = 0.8 on clean: 0.8^2 * -ln 0.2 = 0.64 * 1.60944."""
    logits = torch.tensor([math.log(4.0), math.log(4.0)]).view(1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    right, wrong = 0.04 * 0.2231436, 0.64 * 1.6094379
    assert focal_loss(logits, target, gamma=2.0).item() == pytest.approx((right + wrong) / 2, abs=1e-6)
    hidden = torch.tensor([1.0, 0.0]).view(1, 1, 2)
    assert focal_loss(logits, target, gamma=2.0, weights=hidden).item() == pytest.approx(right, abs=1e-6)
    stressed = torch.tensor([1.0, 3.0]).view(1, 1, 2)
    expected = (right + 3 * wrong) / 4
    assert focal_loss(logits, target, gamma=2.0, weights=stressed).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 4.0])
def test_it_is_the_formula_of_the_paper_for_every_class(gamma: float) -> None:
    rng = np.random.default_rng(1)
    x, t = rng.normal(0, 3, (2, 3, 5, 7)), rng.integers(0, 2, (2, 3, 5, 7))
    w = rng.uniform(0, 4, (2, 5, 7))
    p = 1 / (1 + np.exp(-x))
    p_t = np.where(t == 1, p, 1 - p)
    loss = -((1 - p_t) ** gamma) * np.log(p_t)
    expected = (loss * w[:, None]).sum() / (w.sum() * 3)
    tensors = torch.tensor(x), torch.tensor(t, dtype=torch.float32), torch.tensor(w)
    assert focal_loss(*tensors[:2], gamma=gamma, weights=tensors[2]).item() == pytest.approx(expected, rel=1e-5)
    if gamma == 0:
        plain = functional.binary_cross_entropy_with_logits(tensors[0].float(), tensors[1])
        assert focal_loss(*tensors[:2], gamma=0).item() == pytest.approx(plain.item(), rel=1e-6)


def test_extreme_logits_and_a_hidden_image_stay_finite_with_gradients() -> None:
    logits = torch.tensor([-200.0, 200.0, 0.0]).view(1, 1, 1, 3).requires_grad_()
    target = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
    for weights in (torch.ones(1, 1, 3), torch.zeros(1, 1, 3)):
        loss = focal_loss(logits, target, gamma=2.0, weights=weights)
        loss.backward()
        assert math.isfinite(loss.item()) and logits.grad is not None and bool(torch.isfinite(logits.grad).all())
    assert loss.item() == 0


def test_weights_of_a_small_square_by_hand() -> None:
    """A 4 x 4 defect, band of 1 px, 32 px counts as small: half of the small gain, and the band outside and inside."""
    mask = np.zeros((12, 12), np.uint8)
    mask[4:8, 4:8] = 1
    got = pixel_weights(mask, None, FocalSettings(band_px=1, band_gain=1, small_px=32, small_gain=2))
    assert got[0, 0] == 1
    assert got[5, 5] == 1 + 0 + 1  # inside, beyond the band
    assert got[4, 4] == 1 + 1 + 1  # on the outline
    assert got[3, 3] == 1 + 1 + 1  # just outside
    assert got[2, 2] == 1
    assert (got > 1).sum() == 36


def test_the_band_is_what_lies_within_reach_of_both_sides() -> None:
    rng = np.random.default_rng(2)
    mask = (ndimage.gaussian_filter(rng.normal(size=(60, 80)), 3) > 0.05).astype(np.uint8)
    got = pixel_weights(mask, None, FocalSettings(band_px=2, band_gain=3, small_gain=0))
    square = np.ones((5, 5), bool)
    grown = ndimage.binary_dilation(mask, square)
    worn = ndimage.binary_erosion(mask, square, border_value=1)
    assert (got == np.where(grown & ~worn, 4, 1)).all()


def test_what_lies_outside_the_foreground_does_not_count_but_labelled_defects_do() -> None:
    mask, foreground = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    mask[5:9, 8:12] = 2
    foreground[:, :10] = 1
    got = pixel_weights(mask, foreground, PLAIN)
    assert (got == ((foreground > 0) | (mask > 0))).all()
    with pytest.raises(InputError, match=r"the foreground is \(3, 3\), the mask \(20, 20\)"):
        pixel_weights(mask, np.ones((3, 3), np.uint8), PLAIN)
    batch = batch_weights(np.stack([mask, mask]), np.stack([foreground, foreground]), PLAIN)
    assert batch.shape == (2, 20, 20) and bool((batch[1].numpy() == got).all())


def test_the_smaller_a_defect_the_more_its_pixels_weigh() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[5:8, 5:8] = 1
    mask[20:30, 20:30] = 1
    mask[35:58, 35:58] = 1
    got = pixel_weights(mask, None, FocalSettings(band_px=0, band_gain=0, small_px=200, small_gain=1))
    assert got[6, 6] == pytest.approx(1 + 1 - 9 / 200)
    assert got[25, 25] == pytest.approx(1 + 1 - 100 / 200)
    assert got[45, 45] == 1
