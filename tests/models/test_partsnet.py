from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from jetspect.errors import InputError
from jetspect.models.answer import Answer
from jetspect.models.partsnet import PartsNet, Refining


def refined(p: np.ndarray, **thresholds: float) -> np.ndarray:
    step = Refining(1)
    with torch.no_grad():
        for name, value in thresholds.items():
            getattr(step, name).fill_(value)
        return step(torch.from_numpy(p.astype(np.float32))[None, None])[0, 0].numpy()


def scene() -> np.ndarray:
    """A region of 12 x 15, one of 4 x 4, a hair line, a speck, and a dim region of 10 x 10."""
    p = np.zeros((64, 96))
    p[5:17, 5:20] = 1
    p[5:9, 40:44] = 1
    p[30, 5:60] = 1
    p[50, 50] = 1
    p[40:50, 70:80] = 0.3
    return p


def test_refining_is_slicing_opening_and_filtering_by_area() -> None:
    """Against the same steps done in hard thresholds by SciPy."""
    p = scene()
    found = refined(p, slice_at=0.6, area_at=0.5) > 0.5
    gauss = ndimage.convolve(p, np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="constant")
    region = ndimage.binary_opening(gauss > 0.6, np.ones((3, 3)))
    share = ndimage.uniform_filter(region.astype(float), 9, mode="constant")
    assert np.array_equal(found, region & (share > 0.5))
    assert found[8:14, 8:17].all() and not found[:, 38:].any() and not found[25:].any()


def test_the_learned_thresholds_decide_what_stays() -> None:
    p = scene()
    assert refined(p, slice_at=0.5, area_at=0.05)[6, 41] > 0.5  # the small region
    assert refined(p, slice_at=0.5, area_at=0.5)[6, 41] < 0.5
    assert refined(p, slice_at=0.2, area_at=0.3)[45, 75] > 0.5  # the dim one
    assert refined(p, slice_at=0.6, area_at=0.3)[45, 75] < 0.5


def test_both_thresholds_learn_from_the_answer() -> None:
    step = Refining(2)
    p = torch.from_numpy(np.stack([scene(), 1 - scene()]).astype(np.float32))[None]
    target = torch.zeros_like(p)
    ((step(p) - target) ** 2).mean().backward()  # type: ignore[no-untyped-call]
    for threshold in (step.slice_at, step.area_at):
        # To answer less, the thresholds must rise.
        assert threshold.grad is not None and bool((threshold.grad < 0).all())


def test_answers_have_the_size_of_the_image_and_come_with_the_coarse_one_while_learning() -> None:
    model = PartsNet(1, 2, widths=(4, 6, 8))
    x = torch.randn(2, 1, 32, 48)
    learning = model.train()(x)
    assert isinstance(learning, Answer) and learning.coarse is not None
    assert learning.logits.shape == learning.coarse.shape == (2, 2, 32, 48)
    logits = model.eval()(x)
    assert isinstance(logits, torch.Tensor) and logits.shape == (2, 2, 32, 48)
    assert bool(torch.isfinite(logits).all()) and float(logits.detach().abs().max()) < 7  # also in FP16


def test_without_refining_the_logits_are_the_coarse_ones() -> None:
    model = PartsNet(1, 1, widths=(4, 6), refine=False)
    assert isinstance(model.train()(torch.randn(1, 1, 16, 16)), torch.Tensor)
    assert not any("refining" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("wrong", [{"widths": (4,)}, {"classes": 0}, {"widths": (4, 0)}])
def test_impossible_shapes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="two or more widths of at least 1"):
        PartsNet(**wrong)  # type: ignore[arg-type]
