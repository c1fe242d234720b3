"""The loss of one step: a weighted sum of terms, chosen in the training file."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from jetspect.errors import TrainingError
from jetspect.models.answer import Answer
from jetspect.training.config import LossSettings
from jetspect.training.images import IGNORED
from jetspect.training.losses import bce_loss, dice_loss, mse_loss, one_hot, weight_penalty


def objective(
    answer: Answer, masks: Tensor, defective: Tensor, seen: Tensor, weights: LossSettings, model: nn.Module
) -> Tensor:
    """Return the weighted sum of the loss terms, a scalar.

    Where the answer has a lower resolution than the masks, a cell is defective when any of its pixels is.

    Parameters
    ----------
    masks
        uint8 N x H x W: 0 background, k class k-1, 255 not counted.
    defective, seen
        bool N. Masks that are not seen count in no pixel term.

    Raises
    ------
    TrainingError
        A term is weighted that the model does not answer.
    """
    logits = answer.logits.float()
    target, counted = _fit(masks, seen, logits)
    total = logits.new_zeros(())
    if weights.bce:
        total = total + weights.bce * bce_loss(logits, target, counted)
    if weights.dice:
        total = total + weights.dice * dice_loss(logits, target, counted)
    if weights.mse:
        total = total + weights.mse * mse_loss(logits, target, counted)
    if weights.coarse_mse:
        coarse = _part(answer.coarse, "coarse_mse", "the answer before refining").float()
        total = total + weights.coarse_mse * mse_loss(coarse, target, counted)
    if weights.decision:
        decision = _part(answer.decision, "decision", "a decision per image").float()
        total = total + weights.decision * functional.binary_cross_entropy_with_logits(
            decision[:, 0], defective.to(decision.dtype)
        )
    if weights.weights:
        total = total + weights.weights * weight_penalty(model)
    return total


def _fit(masks: Tensor, seen: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Bring targets and the weight of each pixel to the answer's resolution."""
    target = one_hot(masks, logits.shape[1])
    counted = ((masks != IGNORED) & seen.view(-1, 1, 1))[:, None].to(logits.dtype)
    factor = masks.shape[1] // logits.shape[2]
    if factor > 1:
        target, counted = functional.max_pool2d(target, factor), functional.max_pool2d(counted, factor)
    return target, counted


def _part(value: Tensor | None, term: str, what: str) -> Tensor:
    if value is None:
        raise TrainingError(f"loss.{term} needs a model that answers {what}; set it to 0 or choose another model")
    return value
