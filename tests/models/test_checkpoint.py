from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path

import pytest
import torch

from jetspect.errors import InputError
from jetspect.models.checkpoint import Checkpoint
from jetspect.models.unet import UNet
from jetspect.models.weights import load_file, load_weights

KWARGS = {"in_channels": 3, "classes": 1, "width": 4, "depth": 1}


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        model="unet",
        kwargs=dict(KWARGS),
        classes=("pit",),
        channels=3,
        mean=(1.0, 2.0, 3.0),
        std=(4.0, 5.0, 6.0),
        state_dict=UNet(**KWARGS).state_dict(),
        thresholds=(0.5,),
        thresholds_low=(0.25,),
        min_area_px=(9,),
        info={"seed": 3, "metrics": {"iou": 0.5}},
    )


def test_what_was_saved_is_loaded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "new" / "a.pt")
    loaded = Checkpoint.load(tmp_path / "new" / "a.pt")
    for field in dataclasses.fields(Checkpoint):
        if field.name != "state_dict":
            assert getattr(loaded, field.name) == getattr(checkpoint, field.name), field.name
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.build()(x), checkpoint.build()(x))
    assert not loaded.build().training
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.pt"]


def test_a_file_from_before_frames_and_decisions_still_loads(checkpoint: Checkpoint, tmp_path: Path) -> None:
    whole = dataclasses.replace(checkpoint, frame_wh=(704, 256), decision_threshold=0.4)
    whole.save(tmp_path / "a.pt")
    loaded = Checkpoint.load(tmp_path / "a.pt")
    assert (loaded.frame_wh, loaded.decision_threshold) == ((704, 256), 0.4)
    old = load_file(tmp_path / "a.pt")
    del old["frame_wh"], old["decision_threshold"]
    torch.save(old, tmp_path / "old.pt")
    loaded = Checkpoint.load(tmp_path / "old.pt")
    assert (loaded.frame_wh, loaded.decision_threshold) == (None, None)
    del old["thresholds"]
    torch.save(old, tmp_path / "old.pt")
    with pytest.raises(InputError, match="is not a jetspect checkpoint"):
        Checkpoint.load(tmp_path / "old.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(checkpoint: Checkpoint, value: float) -> None:
    checkpoint.state_dict["head.weight"].view(-1)[0] = value
    with pytest.raises(InputError, match=r"head\.weight holds NaN or infinity"):
        checkpoint.build()


def test_weights_of_another_model_are_refused() -> None:
    model = UNet(**KWARGS)
    weights = dict(model.state_dict())
    with pytest.raises(InputError, match=r"has extra\.weight"):
        load_weights(model, {**weights, "extra.weight": torch.zeros(1)}, where="it")
    with pytest.raises(InputError, match=r"head\.bias is \(2,\), the model needs \(1,\)"):
        load_weights(model, {**weights, "head.bias": torch.zeros(2)}, where="it")
    del weights["head.bias"]
    with pytest.raises(InputError, match=r"lacks head\.bias"):
        load_weights(model, weights, where="it")


def test_a_damaged_file_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no checkpoint at all"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.pt is (damaged|not a checkpoint)"):
            Checkpoint.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        Checkpoint.load(tmp_path / "none.pt")
    with pytest.raises(InputError, match="cannot be read"):
        Checkpoint.load(tmp_path)


class _Code:
    def __init__(self, victim: Path) -> None:
        self._victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._victim),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    """Both a bare pickle and one inside torch's zip are refused before anything in them is called."""
    victim = tmp_path / "ran"
    torch.save({"state_dict": _Code(victim)}, tmp_path / "zip.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps({"state_dict": _Code(victim)}))
    for name in ("zip.pt", "bare.pt"):
        with pytest.raises(InputError, match="holds code and is not loaded"):
            load_file(tmp_path / name)
    assert not victim.exists()


def test_a_file_without_our_fields_says_how_to_give_bare_weights(tmp_path: Path) -> None:
    torch.save(UNet(**KWARGS).state_dict(), tmp_path / "bare.pt")
    with pytest.raises(InputError, match="--model module:factory"):
        Checkpoint.load(tmp_path / "bare.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list"):
        Checkpoint.load(tmp_path / "list.pt")


def test_a_file_from_before_the_upper_limits_still_loads(tmp_path: Path) -> None:
    checkpoint = Checkpoint("unet", {}, ("a",), 3, (1.0,) * 3, (1.0,) * 3, {}, (0.5,), (0.5,), (1,))
    checkpoint.save(tmp_path / "new.pt")
    data = load_file(tmp_path / "new.pt")
    for name in ("max_area_px", "max_aspect"):
        del data[name]
    torch.save(data, tmp_path / "old.pt")
    assert Checkpoint.load(tmp_path / "old.pt").max_area_px == ()
