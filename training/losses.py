"""Losses on logits N x K x H x W against targets of the same shape, 0 or 1.

``counted`` is N x 1 x H x W: the weight of each pixel, 0 where it does not count.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def bce_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return binary cross-entropy, averaged over the pixels that count; 0 where none does."""
    return _mean(functional.binary_cross_entropy_with_logits(logits, target, reduction="none"), counted)


def mse_loss(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the squared error of the probability (PartsNet), averaged over the pixels that count; 0 where none does."""
    return _mean((logits.sigmoid() - target) ** 2, counted)


def dice_loss(
    logits: Tensor, target: Tensor, counted: Tensor, smooth: float = 1.0, *, per_image: bool = False
) -> Tensor:
    """Return 1 - Dice with squared denominator (Leontaris et al., sink inspection, eq. 3), averaged over the classes.

    Each class is pooled over the whole batch, which favours large defects; with ``per_image`` it is taken image by image
    and averaged, so a defect of a few pixels weighs as much as one of thousands. ``smooth`` keeps a batch or image
    without that class defined, and rewards answering nothing there.
    """
    p, t = logits.sigmoid() * counted, target * counted
    over = (2, 3) if per_image else (0, 2, 3)
    overlap, squares = (p * t).sum(over), (p * p).sum(over) + (t * t).sum(over)
    return (1 - (2 * overlap + smooth) / (squares + smooth)).mean()


def weight_penalty(model: nn.Module) -> Tensor:
    """Return the sum of squares of all convolution weights that learn (regularisation)."""
    kernels = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
    return torch.stack([k.square().sum() for k in kernels]).sum() if kernels else torch.zeros(())


def one_hot(mask: Tensor, classes: int) -> Tensor:
    """Turn N x H x W class values (0 background, k class k-1) into float N x K x H x W."""
    values = torch.arange(1, classes + 1, device=mask.device).view(1, -1, 1, 1)
    return (mask[:, None] == values).float()


def _mean(each: Tensor, counted: Tensor) -> Tensor:
    return (each * counted).sum() / (counted.sum() * each.shape[1]).clamp(min=1)
