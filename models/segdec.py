"""The segmentation and decision network of Tabernik et al.: where is a defect, and does this part have one?

Tabernik, Šela, Skvarč and Skočaj (2020), "Segmentation-based deep-learning approach for surface-defect detection", Journal of
Intelligent Manufacturing 31, section 3; layers as in the authors' published code (skokec/segdec-net-jim2019). The decision
pools over the whole picture, so this model cannot be tiled: it sees the whole frame, resized to the size it was trained on.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from jetspect.errors import InputError

Norm = Literal["batch", "instance"]
FEATURES = 1024
STRIDE_PX = 8
# The decision network halves three times more: below this nothing is left to pool over.
MIN_SIDE_PX = 64
DECISION_CHANNELS = (8, 16, 32)


class SegDecNet(nn.Module):
    """Answer a coarse mask and one decision per image, both as logits.

    Parameters
    ----------
    in_channels, classes
        Channels in (the paper: 1, grey), masks out.
    width
        Factor on the channels of the segmentation network: 1 is the paper's (15.7 million parameters), 0.125 runs on a CPU.
        The decision network keeps its 8, 16 and 32 channels.
    norm
        The paper's feature normalisation (zero mean, unit variance per channel). ``batch`` learns the statistics for later
        use and folds into the convolutions; ``instance`` takes them from the picture at hand, always, as the authors' code
        does with its batches of one image (one side must then be 128 px or more).
    detach
        Stop the gradient of the decision before the segmentation network (the paper trains it frozen, in a second step).

    Notes
    -----
    Input float N x C x H x W, sides at least 64 px and multiples of 8. Output: mask logits N x classes x H/8 x W/8 and
    decision logits N x 1. The parts ``segmentation`` and ``decision`` can be frozen one by one. A value of the mask sees
    216 x 216 px of the input.
    """

    whole_frame: ClassVar[bool] = True
    stride_px: ClassVar[int] = STRIDE_PX
    min_side_px: ClassVar[int] = MIN_SIDE_PX

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 1,
        width: float = 1.0,
        norm: Norm = "batch",
        detach: bool = True,
    ) -> None:
        super().__init__()
        if min(in_channels, classes) < 1 or not 0 < width <= 4 or norm not in get_args(Norm):
            raise InputError(
                "a SegDecNet needs in_channels and classes of at least 1, a width above 0 up to 4 and norm batch or "
                f"instance; got {in_channels}, {classes}, {width} and {norm!r}"
            )
        self.segmentation = SegmentationNet(in_channels, classes, width, norm)
        self.decision = DecisionNet(self.segmentation.channels, classes, norm)
        self._detach = detach

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features, mask = self.segmentation(x)
        seen = (features.detach(), mask.detach()) if self._detach else (features, mask)
        return mask, self.decision(*seen)


class SegmentationNet(nn.Module):
    """Eleven convolutions and three poolings: 2 of 32, 3 and 4 of 64 channels (5 x 5), 1024 (15 x 15) and the mask (1 x 1).

    Every convolution but the last is followed by feature normalisation and ReLU. The mask is not normalised (the authors' code
    does): unit variance would make a defect out of the noise of a clean image.
    """

    def __init__(self, in_channels: int, classes: int, width: float, norm: Norm) -> None:
        super().__init__()
        narrow, middle, self.channels = (max(1, round(n * width)) for n in (32, 64, FEATURES))
        layers: list[nn.Module] = []
        channels = in_channels
        for out, repeats in ((narrow, 2), (middle, 3), (middle, 4)):
            for _ in range(repeats):
                layers += _conv(channels, out, 5, norm)
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, *_conv(channels, self.channels, 15, norm))
        self.mask = nn.Conv2d(self.channels, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.mask(features)


class DecisionNet(nn.Module):
    """Decide on the 1024 feature channels and the mask: three times pooling and a 5 x 5 convolution to 8, 16, 32 channels.

    Their global maximum and mean, and the mask's own, are the 66 values (for one class) that a linear layer weighs. As in
    the authors' code the mask counts where it is positive only.
    """

    def __init__(self, features: int, classes: int, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = features + classes
        for out in DECISION_CHANNELS:
            layers += [nn.MaxPool2d(2), *_conv(channels, out, 5, norm)]
            channels = out
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(2 * (channels + classes), 1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        positive = mask.relu()
        deep = self.body(torch.cat([features, positive], dim=1))
        values = [pooled for x in (deep, positive) for pooled in (x.amax(dim=(2, 3)), x.mean(dim=(2, 3)))]
        logits: Tensor = self.head(torch.cat(values, dim=1))
        return logits


def _conv(channels_in: int, channels_out: int, kernel: int, norm: Norm) -> list[nn.Module]:
    normalise = (
        nn.BatchNorm2d(channels_out) if norm == "batch" else nn.InstanceNorm2d(channels_out, eps=1e-3, affine=True)
    )
    return [
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        normalise,
        nn.ReLU(inplace=True),
    ]
