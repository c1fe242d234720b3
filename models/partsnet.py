"""PartsNet: a small segmentation network whose clean-up of the answer is a part of it and learns with it.

From the feature-refining paper of the project's five (PartsNet, section on feature refining): blocks of convolution, batch
normalisation, ReLU and pooling find a density of defect; three steps known from image processing refine it. Each is a
convolution followed by a threshold, and a steep sigmoid stands for the threshold so that gradients pass:

density slicing
    3 x 3 Gaussian, then a learned threshold: is the density high enough.
region segmentation
    3 x 3 erosion, then 3 x 3 dilation: specks and hair lines go, regions keep their size.
area filtration
    9 x 9 convolution with ones, then a learned threshold: is there enough of the region around this pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from jetspect.errors import InputError
from jetspect.models.answer import Answer

_EPS = 1e-3  # probabilities stay this far from 0 and 1, so that their logits are finite in FP16 too
SLICE_STEEPNESS = 40.0
REGION_STEEPNESS = 12.0
AREA_STEEPNESS = 24.0


class PartsNet(nn.Module):
    """Segment images; answers logits, while training :class:`Answer` with the unrefined ones as ``coarse``.

    Parameters
    ----------
    in_channels, classes
        Channels in, logits out.
    widths
        Channels of the blocks. The first two pool, so the density has a quarter of the resolution.
    refine
        False leaves the three refining steps out (the paper's table 1, first row).

    Notes
    -----
    Input float N x C x H x W with H and W multiples of 4 (the paper: 448 x 448); output N x classes x H x W.
    """

    # The steep steps turn half precision's rounding into differences at the edges of regions; the masks agree.
    fp16_max_abs = 0.6

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        widths: tuple[int, ...] | list[int] = (32, 64, 64, 128, 128),
        refine: bool = True,
    ) -> None:
        super().__init__()
        if in_channels < 1 or classes < 1 or len(widths) < 2 or min(widths) < 1:
            raise InputError(
                "PartsNet needs in_channels and classes of at least 1 and two or more widths of at least 1; "
                f"got {in_channels}, {classes} and {tuple(widths)}"
            )
        blocks: list[nn.Module] = []
        for index, (a, b) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            blocks += [_block(a, b), _block(b, b)]
            if index < 2:
                blocks.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*blocks, nn.Conv2d(widths[-1], classes, 1))
        self.refining: Refining | None = Refining(classes) if refine else None

    def forward(self, x: Tensor) -> Tensor | Answer:
        coarse = functional.interpolate(self.features(x), scale_factor=4, mode="bilinear", align_corners=False)
        if self.refining is None:
            return coarse
        # The steps are steep: in half precision they would move the thresholds.
        logits = _logit(self.refining(coarse.float().sigmoid())).to(coarse.dtype)
        return Answer(logits, coarse=coarse) if self.training else logits


class Refining(nn.Module):
    """Density slicing, region segmentation and area filtration: probabilities N x K x H x W in and out.

    The learned numbers, one per class, are ``slice_at`` (a density) and ``area_at`` (the share of a 9 x 9 window).
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.slice_at = nn.Parameter(torch.full((classes,), 0.5))
        self.area_at = nn.Parameter(torch.full((classes,), 0.1))
        line = torch.tensor([1.0, 2.0, 1.0])
        gauss = torch.outer(line, line) / 16
        self.register_buffer("gauss", gauss.expand(classes, 1, 3, 3).clone(), persistent=False)
        self.register_buffer("mean3", torch.full((classes, 1, 3, 3), 1 / 9), persistent=False)
        self.register_buffer("mean9", torch.full((classes, 1, 9, 9), 1 / 81), persistent=False)

    def forward(self, p: Tensor) -> Tensor:
        density = self._convolve(p, "gauss", 1)
        sliced = torch.sigmoid(SLICE_STEEPNESS * (density - self.slice_at.view(1, -1, 1, 1)))
        # Eight and a half of nine pixels: all are set. Half a pixel of nine: any is.
        eroded = torch.sigmoid(9 * REGION_STEEPNESS * (self._convolve(sliced, "mean3", 1) - 8.5 / 9))
        region = torch.sigmoid(9 * REGION_STEEPNESS * (self._convolve(eroded, "mean3", 1) - 0.5 / 9))
        enough = torch.sigmoid(AREA_STEEPNESS * (self._convolve(region, "mean9", 4) - self.area_at.view(1, -1, 1, 1)))
        return sliced * region * enough

    def _convolve(self, x: Tensor, kernel: str, padding: int) -> Tensor:
        return functional.conv2d(x, self.get_buffer(kernel).to(x.dtype), padding=padding, groups=self.classes)


def _logit(p: Tensor) -> Tensor:
    p = p.clamp(_EPS, 1 - _EPS)
    return p.log() - (1 - p).log()


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
