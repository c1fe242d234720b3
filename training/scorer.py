"""Score whole images with a model that is being trained, in uint8 levels as the runtime does."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from jetspect.models.answer import as_answer
from jetspect.runtime.whole import resize

U8 = npt.NDArray[np.uint8]
_ALIGN = 64  # whole images are padded to a multiple of this; no model here has a larger stride


@dataclass(frozen=True, eq=False)
class Scored:
    """One image as a model sees it: scores uint8 K x H x W at the image's size, and the decision (0-255) if it makes one."""

    scores: U8
    decision: int | None = None


class Scorer:
    """Scores whole images with a model, as it is trained.

    Parameters
    ----------
    mean, std
        1 x C x 1 x 1, on the 0-255 scale.
    whole_wh
        Resize images to this width and height first, and the scores back; None: images keep their size.
    """

    def __init__(
        self, model: nn.Module, mean: torch.Tensor, std: torch.Tensor, *, whole_wh: tuple[int, int] | None = None
    ) -> None:
        self._model, self._mean, self._std, self._whole_wh = model, mean, std, whole_wh

    @torch.no_grad()
    def __call__(self, image: U8) -> Scored:
        """Score an image H x W x C or H x W."""
        height, width = image.shape[:2]
        if self._whole_wh is None:
            taken = cv2.copyMakeBorder(image, 0, -height % _ALIGN, 0, -width % _ALIGN, cv2.BORDER_REFLECT_101)
        else:
            taken = resize(image, self._whole_wh)
        pixels = torch.from_numpy(np.atleast_3d(taken)).to(self._mean.device).permute(2, 0, 1)[None].float()
        answer = as_answer(
            self._model(((pixels - self._mean) / self._std).contiguous(memory_format=torch.channels_last))
        )
        if answer.logits.shape[2:] != pixels.shape[2:]:
            size = (pixels.shape[2], pixels.shape[3])
            answer = answer._replace(logits=functional.interpolate(answer.logits, size, mode="bilinear"))
        scores = _levels(answer.logits)[0].cpu().numpy()
        if self._whole_wh is None:
            scores = np.ascontiguousarray(scores[:, :height, :width])
        else:
            scores = np.stack([resize(s, (width, height)) for s in scores])
        return Scored(scores, None if answer.decision is None else int(_levels(answer.decision)[0, 0]))


def _levels(logits: torch.Tensor) -> torch.Tensor:
    return (logits.float().sigmoid() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
