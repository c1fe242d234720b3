"""U-Net with a choice of width, depth and input stride.

Ronneberger, Fischer and Brox (2015), "U-Net: Convolutional Networks for Biomedical Image Segmentation": encoder and decoder
with skip connections and transposed convolutions. Two changes: padded convolutions with batch normalisation, and an optional
strided stem, so that 20-megapixel frames go in at full resolution while the body works at a half or a quarter of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jetspect.errors import InputError

STEMS = (1, 2, 4)


class UNet(nn.Module):
    """Segment images; answers logits.

    Parameters
    ----------
    in_channels, classes
        Channels in, logits out.
    width
        Channels of the first level; they double per level up to ``max_width``.
    depth
        Number of times the resolution is halved inside the body.
    stem_stride
        1: the body sees every pixel. 2 or 4: a strided convolution comes first and a transposed one last.

    Notes
    -----
    Input float N x C x H x W with H and W multiples of ``stem_stride * 2 ** depth``; output N x classes x H x W.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1,
        width: int = 16,
        depth: int = 4,
        max_width: int = 256,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if min(in_channels, classes, width, depth, max_width) < 1 or stem_stride not in STEMS:
            raise InputError(
                "a U-Net needs in_channels, classes, width, depth and max_width of at least 1 and stem_stride 1, 2 or 4; "
                f"got {in_channels}, {classes}, {width}, {depth}, {max_width} and {stem_stride}"
            )
        widths = [min(width * 2**level, max_width) for level in range(depth + 1)]
        self.stem = _stem(in_channels, width, stem_stride)
        first = in_channels if stem_stride == 1 else width
        self.encoder = nn.ModuleList(_block(a, b) for a, b in zip([first, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(widths[i + 1], widths[i], 2, stride=2) for i in range(depth))
        self.decoder = nn.ModuleList(_block(2 * widths[i], widths[i]) for i in range(depth))
        self.head: nn.Module = (
            nn.Conv2d(widths[0], classes, 1)
            if stem_stride == 1
            else nn.ConvTranspose2d(widths[0], classes, stem_stride, stride=stem_stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else self.pool(x))
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([skips[level], self.upsample[level](x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def plain_unet(in_channels: int = 3, classes: int = 1, width: int = 64) -> UNet:
    """Return the U-Net of Leontaris et al. (sink inspection, section 3): 5 encoder stages, transposed convolutions."""
    return UNet(in_channels, classes, width=width, depth=4, max_width=16 * width)


def _stem(channels: int, width: int, stride: int) -> nn.Module:
    if stride == 1:
        return nn.Identity()
    # The kernel is twice the stride, so that neighbouring windows overlap and no pixel is seen only once.
    conv = nn.Conv2d(channels, width, 2 * stride, stride=stride, padding=stride // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [
            nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
