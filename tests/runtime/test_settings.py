from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.errors import ConfigError
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.settings import parse_settings

REPOSITORY = Path(__file__).resolve().parents[2]
MINIMAL = {
    "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
    "bundle": {"path": "b"},
    "source": {"kind": "folder", "path": "images"},
}


def test_the_example_station_is_valid() -> None:
    config = load_station(REPOSITORY / "examples" / "station.toml")
    assert config.bundle.path == REPOSITORY / "examples" / "../bundles/metal-demo"


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    config = parse_settings(MINIMAL, StationConfig, where="x", base=tmp_path)
    assert config.source.path == tmp_path / "images"  # type: ignore[union-attr]
    assert config.outbox.path == tmp_path / "outbox.sqlite"


def test_every_fault_is_listed_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(
        """
        [station]
        site = "a/b"
        area = "a"
        line = "l"
        [bundle]
        path = "b"
        precison = "fp32"
        [source]
        kind = "folder"
        path = "images"
        [queue]
        frames = 0
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_station(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: 4 faults")
    for fault in (
        "station.site: ",
        "station.unit: missing",
        "bundle.precison: unknown key",
        "queue.frames: Input should be greater than or equal to 1 (got 0)",
    ):
        assert fault in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[station", "is not valid TOML"),
        (b"\xff\xfe", "is not UTF-8 text: byte 0 is 0xff"),
    ],
)
def test_what_is_not_toml_says_so(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_station(path)


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_station(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_station(tmp_path)


def test_a_password_in_the_file_is_refused_without_being_shown() -> None:
    data = {**MINIMAL, "broker": {"host": "h", "password": "hunter2"}}
    with pytest.raises(ConfigError) as caught:
        parse_settings(data, StationConfig, where="x")
    assert "broker.password: unknown key" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["camera", None, 3])
def test_an_unknown_source_names_the_known_ones(kind: object) -> None:
    with pytest.raises(ConfigError, match="source"):
        parse_settings({**MINIMAL, "source": {"kind": kind}}, StationConfig, where="x")
