from __future__ import annotations

import pytest
import torch

from jetspect.errors import InputError
from jetspect.models.unet import UNet, plain_unet


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_logits_come_out_at_the_size_that_went_in(stem_stride: int) -> None:
    model = UNet(in_channels=3, classes=2, width=4, depth=2, stem_stride=stem_stride).eval()
    stride = stem_stride * 4
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 2 * stride, 3 * stride)).shape == (2, 2, 2 * stride, 3 * stride)


def test_max_width_limits_the_channels() -> None:
    wide, narrow = (UNet(width=8, depth=4, max_width=w) for w in (256, 16))
    assert max(p.shape[0] for p in narrow.parameters()) <= 32  # transposed convolutions take two halves
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters()) / 10


def test_a_strided_stem_makes_the_body_cheaper() -> None:
    def multiplications(stem_stride: int) -> int:
        model, total = UNet(width=4, depth=2, stem_stride=stem_stride).eval(), 0

        def count(layer: torch.nn.Module, _: object, out: torch.Tensor) -> None:
            nonlocal total
            total += out.numel() * next(layer.parameters())[0].numel()

        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(count)
        with torch.no_grad():
            model(torch.zeros(1, 3, 32, 32))
        return total

    assert multiplications(2) < multiplications(1) / 2


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"classes": 0}, {"stem_stride": 3}, {"width": -1}])
def test_impossible_shapes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1 and stem_stride 1, 2 or 4"):
        UNet(**wrong)


def test_the_plain_unet_has_five_stages_from_64_to_1024_channels() -> None:
    model = plain_unet()
    stages = [block[0].weight.shape[0] for block in model.encoder]  # type: ignore[index]
    assert stages == [64, 128, 256, 512, 1024]
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in model.modules()) == 4
