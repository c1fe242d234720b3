from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.errors import ConfigError
from jetspect.models.registry import build_model
from jetspect.runtime.settings import load_settings
from jetspect.training.config import TrainConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
MAX_BYTES = 4 * 2**20


@pytest.mark.parametrize("name", ["bsd-pitting.toml", "metal-demo.toml"])
def test_shipped_files_are_valid_and_make_small_models(name: str) -> None:
    config = load_settings(CONFIGS / name, TrainConfig)
    model = build_model(config.model.name, config.model.kwargs)
    assert sum(p.numel() * p.element_size() for p in model.parameters()) <= MAX_BYTES


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
