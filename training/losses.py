"""Losses on logits N x K x H x W against targets of the same shape, 0 or 1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dice_loss(logits: Tensor, target: Tensor, smooth: float = 1.0) -> Tensor:
    """Return 1 - Dice with squared denominator (Leontaris et al., sink inspection, eq. 3), averaged over the classes.

    Each class is pooled over the whole batch. ``smooth`` keeps a batch without that class defined, and rewards answering
    nothing there.
    """
    p = logits.sigmoid()
    over = (0, 2, 3)
    overlap, squares = (p * target).sum(over), (p * p).sum(over) + (target * target).sum(over)
    return (1 - (2 * overlap + smooth) / (squares + smooth)).mean()


def segmentation_loss(logits: Tensor, target: Tensor, *, bce: float, dice: float) -> Tensor:
    """Return the weighted sum of binary cross-entropy and Dice."""
    logits = logits.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return bce * cross_entropy + dice * dice_loss(logits, target)


def one_hot(mask: Tensor, classes: int) -> Tensor:
    """Turn N x H x W class values (0 background, k class k-1) into float N x K x H x W."""
    values = torch.arange(1, classes + 1, device=mask.device).view(1, -1, 1, 1)
    return (mask[:, None] == values).float()
