"""Counts survive in a file that is whole at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from consumers import result

from jetspect.errors import InputError
from jetspect.runtime.consuming.state import StateFile


def test_counts_and_events_come_back(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "new" / "state.json")
    reader = file.load()
    for seq in (3, 7, 5):
        reader.read("t", result(seq))
    file.save(reader)
    reader.stations["t"].outbox_id = "a"
    file.save(reader)
    again = file.load()
    assert again.stations["t"].outbox_id == "a"
    assert again.stations["t"].holes == [(4, 4), (6, 6)]
    assert again.read("t", result(7)).repeated
    assert again.read("t", result(6)).noted.closed == (6, 6)
    assert [p.name for p in file._path.parent.iterdir()] == ["state.json"]


def test_history_counts_from_one_for_stations_that_are_new(tmp_path: Path) -> None:
    reader = StateFile(tmp_path / "s").load(from_first=True)
    assert reader.read("t", result(3)).noted.opened == (1, 2)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"stations": 3}', b'{"schema_id": "jetspect.consumer-state/2"}'])
def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is no state of this jetspect .* move it aside"):
        StateFile(path).load()
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = StateFile(tmp_path / "file" / "s.json")
    with pytest.raises(InputError, match=r"s\.json cannot be read: Not a directory"):
        file.load()
    with pytest.raises(InputError, match=r"cannot be written: .* name another with --state"):
        StateFile(tmp_path / ("x" * 300)).save(StateFile(tmp_path / "s").load())
