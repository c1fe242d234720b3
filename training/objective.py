"""The loss of one step: a weighted sum of terms, chosen in the training file."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from jetspect.errors import TrainingError
from jetspect.models.answer import Answer
from jetspect.training.config import LossSettings
from jetspect.training.focal import focal_loss
from jetspect.training.images import IGNORED
from jetspect.training.losses import bce_loss, dice_loss, mse_loss, one_hot, weight_penalty


@dataclass(frozen=True, eq=False)
class Target:
    """What an answer is held against, on the model's device.

    Attributes
    ----------
    masks
        uint8 N x H x W: 0 background, k class k-1, 255 not counted.
    defective, seen
        bool N. Masks that are not seen count in no pixel term.
    weights
        float32 N x H x W: how much each pixel counts in the focal loss; empty where that is not used.
    """

    masks: Tensor
    defective: Tensor
    seen: Tensor
    weights: Tensor


def objective(answer: Answer, truth: Target, weights: LossSettings, model: nn.Module, *, gamma: float = 2.0) -> Tensor:
    """Return the weighted sum of the loss terms, a scalar.

    Where the answer has a lower resolution than the masks, a cell is defective when any of its pixels is.

    Parameters
    ----------
    gamma
        Of the focal loss.

    Raises
    ------
    TrainingError
        A term is weighted that the model does not answer.
    """
    logits = answer.logits.float()
    target, counted = _fit(truth.masks, truth.seen, logits)
    total = logits.new_zeros(())
    if weights.bce:
        total = total + weights.bce * bce_loss(logits, target, counted)
    per_image = weights.dice_over == "image"
    if weights.dice:
        total = total + weights.dice * dice_loss(logits, target, counted, per_image=per_image)
    if weights.mse:
        total = total + weights.mse * mse_loss(logits, target, counted)
    if weights.focal:
        each = counted * _resized(truth.weights[:, None], counted)
        total = total + weights.focal * focal_loss(logits, target, gamma=gamma, weights=each)
    if weights.coarse_mse or weights.coarse_dice:
        term = "coarse_mse" if weights.coarse_mse else "coarse_dice"
        coarse = _part(answer.coarse, term, "the answer before refining").float()
        if weights.coarse_mse:
            total = total + weights.coarse_mse * mse_loss(coarse, target, counted)
        if weights.coarse_dice:
            total = total + weights.coarse_dice * dice_loss(coarse, target, counted, per_image=per_image)
    if weights.decision:
        decision = _part(answer.decision, "decision", "a decision per image").float()
        total = total + weights.decision * functional.binary_cross_entropy_with_logits(
            decision[:, 0], truth.defective.to(decision.dtype)
        )
    if weights.weights:
        total = total + weights.weights * weight_penalty(model)
    return total


def _fit(masks: Tensor, seen: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Bring targets and the weight of each pixel to the answer's resolution."""
    target = one_hot(masks, logits.shape[1])
    counted = ((masks != IGNORED) & seen.view(-1, 1, 1))[:, None].to(logits.dtype)
    return _resized(target, logits), _resized(counted, logits)


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    factor = maps.shape[2] // like.shape[2]
    return functional.max_pool2d(maps, factor) if factor > 1 else maps


def _part(value: Tensor | None, term: str, what: str) -> Tensor:
    if value is None:
        raise TrainingError(f"loss.{term} needs a model that answers {what}; set it to 0 or choose another model")
    return value
