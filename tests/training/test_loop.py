from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from jetspect.errors import DataSetError, InputError, TrainingError
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.settings import parse_settings
from jetspect.training.config import TrainConfig
from jetspect.training.loop import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark spots on bright noise: 8 images to learn from, 4 to validate on."""
    root = tmp_path_factory.mktemp("spots")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for n in range(count):
            mask = np.zeros((96, 128), np.uint8)
            for _ in range(3):
                centre = int(rng.integers(10, 118)), int(rng.integers(10, 86))
                cv2.circle(mask, centre, int(rng.integers(4, 9)), 255, -1)
            image = rng.integers(120, 200, (96, 128, 3), dtype=np.uint8)
            image[mask > 0] //= 3
            cv2.imwrite(str(root / split / "images" / f"{n}.png"), image)
            cv2.imwrite(str(root / split / "masks" / f"{n}.png"), mask)
    return root


def config(data: Path, steps: int = 6, **changes: object) -> TrainConfig:
    table = {
        "data": {"dataset": "folder", "path": str(data)},
        "model": {"kwargs": {"width": 4, "depth": 2, "max_width": 16}},
        "crops": {"size_wh": [64, 64], "batch": 2},
        "schedule": {"steps": steps, "warmup": 2, "learning_rate": 0.01, "validate_every": 3, "save_every": 2},
        "threads": 1,
        **changes,
    }
    return parse_settings(table, TrainConfig, where="test")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Training sets the thread counts of the process; put them back."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(path).state_dict


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_short_run_finds_the_spots_and_leaves_a_usable_checkpoint(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    settings = config(
        data, 60, schedule={"steps": 60, "warmup": 5, "learning_rate": 0.01, "ema": 0.9, "validate_every": 20}
    )
    best = Trainer(settings, tmp_path, progress=lambda *step: seen.append(step)).run()
    checkpoint = Checkpoint.load(best)
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(float(row["step"])) for row in rows] == [20, 40, 60]
    assert max(float(row["iou"]) for row in rows) > 0.6
    assert checkpoint.classes == ("defect",) and 0 < checkpoint.thresholds[0] <= 1
    assert checkpoint.info["train_images"] == 8 and checkpoint.info["val_images"] == 4
    assert not checkpoint.build().training
    assert ("training", 60, 60) in seen and ("reading images", 8, 8) in seen and ("validating", 4, 4) in seen


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(data: Path, tmp_path: Path) -> None:
    runs = [Trainer(config(data, seed=seed), tmp_path / str(n)).run() for n, seed in enumerate((0, 0, 1))]
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


def test_a_resumed_run_ends_like_one_that_was_never_interrupted(data: Path, tmp_path: Path) -> None:
    """Killed after step 5, with the last resume point at step 4."""

    class Killed(Exception):
        pass

    def kill(what: str, done: int, _: int) -> None:
        if what == "training" and done == 5:
            raise Killed

    Trainer(config(data), tmp_path / "whole").run()
    with pytest.raises(Killed):
        Trainer(config(data), tmp_path / "parts", progress=kill).run()
    steps: list[int] = []
    Trainer(
        config(data), tmp_path / "parts", progress=lambda what, n, _: steps.append(n) if what == "training" else None
    ).run()
    assert steps == [5, 6]
    ends = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")]
    assert same(ends[0]["model"], ends[1]["model"]) and same(ends[0]["average"], ends[1]["average"])
    assert same(weights(tmp_path / "whole" / "best.pt"), weights(tmp_path / "parts" / "best.pt"))
    assert ends[0]["losses"] == ends[1]["losses"]


def test_the_best_weights_are_those_of_the_last_phase_however_good_an_earlier_one_was(
    data: Path, tmp_path: Path
) -> None:
    """What an earlier phase reached is where the next one begins, not what the run is for."""
    schedule = {"warmup": 5, "learning_rate": 0.01, "ema": 0.9, "validate_every": 20}
    phases = [{"steps": 60}, {"steps": 5, "learning_rate": 10.0}]
    best = Trainer(config(data, schedule=schedule, phases=phases), tmp_path).run()
    with (tmp_path / "log.csv").open() as stream:
        quality = [float(row["iou"]) for row in csv.DictReader(stream)]
    assert Checkpoint.load(best).info["step"] == 65
    assert quality[-1] < max(quality)


def test_a_later_phase_begins_with_the_averaged_weights(data: Path, tmp_path: Path) -> None:
    schedule = {"warmup": 0, "learning_rate": 0.01, "ema": 0.99, "validate_every": 5}
    for name, phases in (("one", [{"steps": 10}]), ("two", [{"steps": 10}, {"steps": 1, "learning_rate": 1e-12}])):
        Trainer(config(data, schedule=schedule, phases=phases), tmp_path / name).run()
    one, two = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "two"))
    kernels = [name for name in one["model"] if name.endswith("weight")]
    assert all(torch.allclose(two["model"][k], one["average"][k], atol=1e-6) for k in kernels)
    assert not all(torch.allclose(one["model"][k], one["average"][k], atol=1e-6) for k in kernels)


def test_a_resume_point_of_other_settings_is_refused_unless_restarted(data: Path, tmp_path: Path) -> None:
    Trainer(config(data, 2), tmp_path).run()
    with pytest.raises(TrainingError, match="other settings; use another --out, or --restart"):
        Trainer(config(data, 3), tmp_path).run()
    Trainer(config(data, 3), tmp_path).run(resume=False)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3


def test_a_resume_point_of_other_images_or_a_damaged_one_is_refused(data: Path, tmp_path: Path) -> None:
    Trainer(config(data, 2), tmp_path / "run").run()
    shutil.copytree(data, tmp_path / "more")
    for kind in ("images", "masks"):
        shutil.copy(tmp_path / f"more/val/{kind}/0.png", tmp_path / f"more/val/{kind}/9.png")
    with pytest.raises(TrainingError, match=r"last\.pt belongs to a run on other images or classes"):
        Trainer(config(data, 2), tmp_path / "run", data=tmp_path / "more").run()
    (tmp_path / "run/last.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"last\.pt is damaged or not a checkpoint"):
        Trainer(config(data, 2), tmp_path / "run").run()


def test_validation_images_without_a_defect_are_refused_before_the_run(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "clean")
    for mask in (tmp_path / "clean/val/masks").glob("*.png"):
        cv2.imwrite(str(mask), np.zeros((96, 128), np.uint8))
    with pytest.raises(TrainingError, match=r"none of 4 labelled validation images has a defect \(val/images/0\.png"):
        Trainer(config(tmp_path / "clean"), tmp_path / "run")


def test_a_picture_on_both_sides_is_refused_before_the_run(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "leaky")
    shutil.copy(tmp_path / "leaky/train/images/5.png", tmp_path / "leaky/val/images/2.png")
    with pytest.raises(DataSetError, match=r"val/images/2\.png in val is a copy of .*train/images/5\.png in train"):
        Trainer(config(tmp_path / "leaky"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, tmp_path: Path) -> None:
    schedule = {"steps": 40, "warmup": 0, "learning_rate": 1e30}
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+; lower schedule\.learning_rate"):
        Trainer(config(data, schedule=schedule), tmp_path).run()


def test_crops_that_the_model_cannot_take_are_refused_before_the_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model refuses crops of 65 x 64 px"):
        Trainer(config(data, crops={"size_wh": [65, 64]}), tmp_path)
    assert not (tmp_path / "last.pt").exists()


def test_a_model_that_answers_in_another_shape_is_refused(data: Path, tmp_path: Path) -> None:
    model = {"name": "torch.nn:Conv2d", "kwargs": {}}
    with pytest.raises(InputError, match="refuses its arguments"):
        Trainer(config(data, model=model), tmp_path)


@pytest.mark.parametrize(
    ("crops", "said"),
    [
        ({"size_wh": [64, 64]}, "model segdec judges whole images, which crops are not; set crops.whole = true"),
        ({"size_wh": [100, 72], "whole": True}, "100 x 72 px do not fit .* 8 times smaller; use multiples of 8 px"),
    ],
)
def test_a_model_of_whole_images_says_what_it_needs(
    data: Path, tmp_path: Path, crops: dict[str, object], said: str
) -> None:
    model = {"name": "segdec", "channels": 1, "kwargs": {"width": 0.1}}
    with pytest.raises(InputError, match=said):
        Trainer(config(data, model=model, crops=crops), tmp_path)
