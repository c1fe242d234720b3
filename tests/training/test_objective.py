from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from jetspect.errors import TrainingError
from jetspect.models.answer import Answer
from jetspect.training.config import LossSettings
from jetspect.training.objective import Target, objective

MODEL = nn.Conv2d(1, 1, 1)
NONE = {"bce": 0.0, "dice": 0.0}


def value(
    answer: Answer, mask: list[list[int]], *, seen: bool = True, defective: bool = True, **weights: float
) -> float:
    settings = LossSettings(**{**NONE, **weights})  # type: ignore[arg-type]
    masks = torch.tensor([mask], dtype=torch.uint8)
    pixels = torch.ones(masks.shape)
    pixels[0, 0, 0] = 3.0
    truth = Target(masks, torch.tensor([defective]), torch.tensor([seen]), pixels)
    return objective(answer, truth, settings, MODEL, gamma=0.0).item()


FLAT = Answer(torch.zeros(1, 1, 2, 2))


def test_terms_are_weighted_and_added() -> None:
    mask = [[1, 0], [0, 0]]
    bce, dice, mse = math.log(2), 1 - (2 * 0.5 + 1) / (4 * 0.25 + 1 + 1), 0.25
    assert value(FLAT, mask, bce=1) == pytest.approx(bce)
    assert value(FLAT, mask, bce=0.05, dice=0.95) == pytest.approx(0.05 * bce + 0.95 * dice)
    assert value(FLAT, mask, mse=2) == pytest.approx(2 * mse)
    nn.init.constant_(MODEL.weight, 3.0)
    assert value(FLAT, mask, mse=1, weights=0.1) == pytest.approx(mse + 0.1 * 9)


def test_dice_over_each_image_is_chosen_in_the_settings() -> None:
    masks = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [0, 0]]], dtype=torch.uint8)
    logits = torch.where(masks[:, None] > 0, 100.0, -100.0)
    logits[1] = -100.0  # the small defect is missed
    truth = Target(masks, torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool), torch.ones(masks.shape))

    def loss(over: str) -> float:
        settings = LossSettings(bce=0, dice=1, dice_over=over)  # type: ignore[arg-type]
        return objective(Answer(logits), truth, settings, MODEL).item()

    assert loss("batch") == pytest.approx(1 - (2 * 4 + 1) / (4 + 5 + 1))
    assert loss("image") == pytest.approx(0.5 / 2)


def test_the_focal_term_weighs_pixels() -> None:
    """With gamma 0 it is cross-entropy; the first pixel counts three times."""
    answer = Answer(torch.tensor([[[[50.0, 0.0], [0.0, 0.0]]]]))
    assert value(answer, [[0, 0], [0, 0]], focal=1) == pytest.approx((3 * 50 + 3 * math.log(2)) / 6)
    assert value(answer, [[255, 0], [0, 0]], focal=1) == pytest.approx(math.log(2))


def test_pixels_marked_255_and_masks_that_are_not_seen_do_not_count() -> None:
    wrong = Answer(torch.tensor([[[[50.0, 0.0], [0.0, 0.0]]]]))
    assert value(wrong, [[255, 0], [0, 0]], bce=1) == pytest.approx(math.log(2))
    assert value(wrong, [[0, 0], [0, 0]], seen=False, bce=1) == 0.0


def test_a_coarse_cell_is_defective_when_any_of_its_pixels_is() -> None:
    answer = Answer(torch.tensor([[[[8.0, -8.0]]]]))
    right = value(answer, [[0, 0, 0, 0], [0, 1, 0, 0]], bce=1)
    wrong = value(answer, [[0, 0, 1, 0], [0, 0, 0, 0]], bce=1)
    assert right < 0.001 and wrong > 7


def test_decision_and_coarse_answers_have_their_own_terms() -> None:
    answer = Answer(torch.zeros(1, 1, 1, 1), decision=torch.tensor([[2.0]]), coarse=torch.full((1, 1, 1, 1), 50.0))
    assert value(answer, [[1]], decision=1) == pytest.approx(math.log(1 + math.exp(-2)))
    assert value(answer, [[0]], decision=1, defective=False) == pytest.approx(math.log(1 + math.exp(2)))
    assert value(answer, [[1]], seen=False, bce=1, decision=1) == pytest.approx(math.log(1 + math.exp(-2)))
    assert value(answer, [[0]], coarse_mse=1) == pytest.approx(1.0)
    assert value(answer, [[0]], coarse_dice=1) == pytest.approx(0.5)  # 1 - 1 / (1 + 1)


@pytest.mark.parametrize("term", ["decision", "coarse_mse", "coarse_dice"])
def test_a_term_the_model_cannot_answer_is_refused(term: str) -> None:
    with pytest.raises(TrainingError, match=f"loss.{term} needs a model that answers"):
        value(FLAT, [[1, 0], [0, 0]], **{term: 1.0})
