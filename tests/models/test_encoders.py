from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from jetspect.errors import InputError
from jetspect.models.encoders import encoder_unet, load_encoder
from jetspect.models.registry import build_model


@pytest.mark.parametrize("name", ["res50-unet", "effunet-b0"])
def test_published_encoders_give_unets_for_any_channels_and_classes(name: str) -> None:
    model = build_model(name, {"in_channels": 1, "classes": 2}).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 64, 96)).shape == (1, 2, 64, 96)


def test_weights_come_from_a_local_file_of_the_encoder_or_of_its_classifier(tmp_path: Path) -> None:
    source, model = encoder_unet("resnet18"), encoder_unet("resnet18")
    weights = {
        f: t + 1 if t.is_floating_point() else t for f, t in source.get_submodule("encoder").state_dict().items()
    }
    torch.save({"state_dict": {**weights, "fc.weight": torch.zeros(3)}}, tmp_path / "resnet.pth")
    assert load_encoder(model, "res50-unet", str(tmp_path / "resnet.pth")) == "file resnet.pth"
    assert all(torch.equal(t, weights[f]) for f, t in model.get_submodule("encoder").state_dict().items())


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(encoder_unet("resnet34").get_submodule("encoder").state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other.pth \(encoder of res50-unet\)"):
        load_encoder(build_model("res50-unet"), "res50-unet", str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match="model unet has no published encoder"):
        load_encoder(build_model("unet"), "unet", "imagenet")


def test_weights_that_cannot_be_fetched_are_random_and_said_to_be(caplog: pytest.LogCaptureFixture) -> None:
    """The hub is off in tests, as on a machine without a network."""
    model = build_model("effunet-b0")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        assert load_encoder(model, "effunet-b0", "imagenet").startswith("random")
    assert "cannot be fetched" in caplog.text and "model.weights" in caplog.text
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_an_encoder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="on encoder 'resnet9000'"):
        encoder_unet("resnet9000")
