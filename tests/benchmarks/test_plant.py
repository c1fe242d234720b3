"""The parts of a plant are real processes, and one that does not come up says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.benchmarks.plant import Mosquitto, Part
from jetspect.errors import MissingDependencyError, PublishError


def test_a_part_that_ends_at_its_start_is_told_at_once_with_its_log(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "no_such_option yes", log=tmp_path / "log")
    with pytest.raises(PublishError, match=r"the broker ended with exit code 3 when it was started; .*log says why"):
        broker.start()
    assert "no_such_option" in (tmp_path / "log").read_text()
    assert not broker.alive


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="no-such-program"):
        Part(["no-such-program"])
