"""What the export measures is true: tiles cut by it give the same answer as the whole frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from jetspect.errors import ExportError
from jetspect.export.geometry import Score, accepted_stride, border_error, stitched_error, tiling_contract
from jetspect.models.unet import UNet

U8 = npt.NDArray[np.uint8]
Texture = Callable[..., U8]
Trained = Callable[..., nn.Module]


def scorer(model: nn.Module) -> Score:
    model = model.eval()

    @torch.no_grad()
    def score(tiles: U8) -> npt.NDArray[np.float32]:
        x = (torch.from_numpy(tiles).permute(0, 3, 1, 2).float() - 120) / 50
        answer: npt.NDArray[np.float32] = model(x).sigmoid().numpy()
        return answer

    return score


def measure(model: nn.Module, image: U8, **options: int) -> tuple[str, int, int]:
    score = scorer(model)
    contract = tiling_contract(score, image, accepted_stride(score, 3), **options)
    return contract.mode, contract.stride_px, contract.halo_px


@pytest.mark.parametrize(
    ("depth", "stem", "image_px"), [(1, 1, 256), (2, 1, 256), (3, 1, 384), (1, 2, 256), (2, 2, 384), (1, 4, 384)]
)
def test_tiles_of_a_unet_equal_the_whole_frame_also_on_images_not_measured(
    depth: int, stem: int, image_px: int, texture: Texture, trained: Trained
) -> None:
    score = scorer(trained(UNet(3, 1, width=4, depth=depth, stem_stride=stem)))
    stride = accepted_stride(score, 3)
    assert stride == stem * 2**depth
    image = texture(image_px)
    contract = tiling_contract(score, image, stride)
    assert (contract.mode, contract.stride_px) == ("exact", stride)
    assert contract.halo_error <= 1e-4
    other = texture(image_px, seed=9)
    whole = score(other[None])[0]
    # Another image may show a little more than the one that was measured on.
    assert stitched_error(score, other, whole, contract.halo_px, stride) <= 2e-4
    # And it is the smallest: one stride less shows on the measured image.
    whole = score(image[None])[0]
    assert border_error(score, image, whole, stride)[contract.halo_px - stride] > 1e-4


def test_a_single_convolution_has_the_halo_of_its_kernel(texture: Texture, trained: Trained) -> None:
    image = texture(256)
    assert measure(trained(nn.Conv2d(3, 1, 3, padding=1)), image) == ("exact", 1, 1)
    assert measure(trained(nn.Conv2d(3, 1, 3, padding=4, dilation=4)), image) == ("exact", 1, 4)
    assert measure(trained(nn.Conv2d(3, 1, 1)), image) == ("exact", 1, 0)


def test_a_coarser_stride_is_found_behind_a_model_that_takes_any_size(texture: Texture, trained: Trained) -> None:
    class Resizing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 4, stride=4)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.interpolate(self.conv(x), size=x.shape[2:], mode="nearest")

    assert accepted_stride(scorer(Resizing()), 3) == 1
    assert measure(trained(Resizing()), texture(256)) == ("exact", 4, 0)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.body(x)
        return answer


class Pooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits * logits.mean(dim=(2, 3), keepdim=True).sigmoid()


@pytest.mark.parametrize("model", [Norm, Pooling])
def test_models_that_look_at_the_whole_tile_are_recorded_as_blend(
    model: Callable[[], nn.Module], texture: Texture, trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    score = scorer(trained(model()))
    contract = tiling_contract(score, texture(256), 1)
    assert (contract.mode, contract.stride_px, contract.tile_px, contract.halo_px) == ("blend", 1, 512, 64)
    assert 1e-4 < contract.halo_error < 1
    assert "recorded as blend" in caplog.text


def test_a_wanted_tile_is_taken_or_refused_with_the_rule(texture: Texture, trained: Trained) -> None:
    score = scorer(trained(UNet(3, 1, width=4, depth=2)))
    image = texture(256)
    assert tiling_contract(score, image, 4, tile_px=100).tile_px == 100
    with pytest.raises(ExportError, match="tile 102 px must be a multiple of the stride 4"):
        tiling_contract(score, image, 4, tile_px=102)
    with pytest.raises(ExportError, match=r"tile 32 px must be .* larger than two halos of"):
        tiling_contract(score, image, 4, tile_px=32)


def test_the_default_tile_computes_at_most_twice_the_pixels(texture: Texture, trained: Trained) -> None:
    contract = tiling_contract(scorer(trained(UNet(3, 1, width=4, depth=3))), texture(384), 8)
    assert (contract.tile_px / (contract.tile_px - 2 * contract.halo_px)) ** 2 <= 2


def test_what_cannot_be_measured_is_refused(texture: Texture) -> None:
    flat, broken = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)
    for parameter in flat.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(ExportError, match=r"answers the same everywhere \(about 0\.5\)"):
        measure(flat, texture(256))
    with pytest.raises(ExportError, match="answers NaN or infinity on a real image"):
        measure(broken, texture(256))
    with pytest.raises(ExportError, match="at least 256 x 256 px to be measured on, got 200 x 200"):
        measure(nn.Conv2d(3, 1, 1), texture(256)[:200, :200])


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Conv2d(1, 1, 1), "no tile of 3 channels .* expected input.* to have 1 channels, but got 3"),
        (nn.Conv2d(3, 1, 3), "97 x 97 px in, 1 x 1 x 95 x 95 out|px in, .* out"),
        (nn.Conv2d(3, 1, 2, stride=2), "px in, .* out"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 1)), "no tile of 3 channels"),
    ],
)
def test_a_model_that_does_not_answer_per_pixel_is_refused_in_one_line(model: nn.Module, says: str) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        accepted_stride(scorer(model), 3)
    assert "\n" not in str(caught.value)
