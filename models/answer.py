"""What a network answers while it learns, where that is more than one map of logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Answer(NamedTuple):
    """Logits, all float32 or half.

    Attributes
    ----------
    logits
        N x K x H' x W'; H' and W' are the input's, or the input's divided by a whole number.
    decision
        N x 1, one logit per image: is there any defect.
    coarse
        N x K x H' x W': the answer before the last, refining stage.
    """

    logits: Tensor
    decision: Tensor | None = None
    coarse: Tensor | None = None


def as_answer(output: Tensor | tuple[Tensor, ...]) -> Answer:
    """Give one name to what models return: logits alone, or logits and decision."""
    if isinstance(output, Answer):
        return output
    return Answer(output) if isinstance(output, Tensor) else Answer(*output)
