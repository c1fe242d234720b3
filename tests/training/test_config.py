from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.errors import ConfigError
from jetspect.evaluation.datasets import KINDS
from jetspect.models.registry import MODELS, build_model
from jetspect.runtime.settings import load_settings
from jetspect.training.config import TrainConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
MAX_BYTES = 4 * 2**20


@pytest.mark.parametrize("name", ["bsd-pitting.toml", "metal-demo.toml"])
def test_shipped_files_are_valid_and_make_small_models(name: str) -> None:
    config = load_settings(CONFIGS / name, TrainConfig)
    model = build_model(config.model.name, config.model.kwargs)
    assert sum(p.numel() * p.element_size() for p in model.parameters()) <= MAX_BYTES


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_file_is_valid_and_names_a_model_and_a_data_set_that_exist(path: Path) -> None:
    config = load_settings(path, TrainConfig)
    assert config.model.name in MODELS and config.data.dataset in KINDS
    assert f"jetspect train training/configs/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loss]\nbce = 0\ndice = 0\n", "at least one of bce, dice"),
        ("seed = 99999999999999999999\n", "seed:"),
    ],
)
def test_what_would_fail_in_the_middle_is_refused_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'{text}[data]\ndataset = "folder"\n')
    with pytest.raises(ConfigError, match=message):
        load_settings(path, TrainConfig)


def test_every_fault_is_listed_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("seed = -1\nsede = 2\n[data]\n[crops]\nsize_wh = [16, 64]\n[schedule]\nema = 1.0\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, TrainConfig)
    text = "\n".join(caught.value.faults)
    for key in ("seed:", "sede: unknown key", "data.dataset: missing", "crops.size_wh: crops need", "schedule.ema:"):
        assert key in text
    assert len(caught.value.faults) == 5


def test_a_relative_data_path_counts_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[data]\ndataset = "folder"\npath = "images"\n')
    assert load_settings(path, TrainConfig).data.path == tmp_path / "images"
