from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.sources.live import Backoff, LiveSettings, LiveSource

IMAGE = np.zeros((16, 16), np.uint8)


def test_pauses_double_up_to_the_longest_and_start_over() -> None:
    backoff = Backoff(1.0, 5.0)
    for whole in (1, 2, 4, 5, 5):
        assert 0.75 * whole <= backoff.pause_s() <= whole
    backoff.reset()
    assert backoff.pause_s() <= 1
    assert len({Backoff(1.0, 5.0).pause_s() for _ in range(20)}) > 10


class Scripted(LiveSource):
    """Plays one list of items per session: an error is raised, None ends the source."""

    def __init__(self, *sessions: list[Frame | LostFrame | Exception | None]) -> None:
        super().__init__("device 1", LiveSettings(retry_s=0.01, retry_max_s=0.04))
        self._sessions_to_play = iter(sessions)
        self.closed = 0

    def _session(self) -> Iterator[Frame | LostFrame]:
        try:
            for item in next(self._sessions_to_play):
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    self._end()
                    return
                self._up()
                yield item
        finally:
            self.closed += 1


def test_sessions_follow_each_other_until_the_last_and_each_is_closed() -> None:
    first, second = Frame(IMAGE, "1"), Frame(IMAGE, "2")
    source = Scripted([first], [SourceError("gone")], [second, SourceError("gone again")], [None])
    assert list(source) == [first, second]
    assert source.closed == 4
    assert (source.counters().reconnects, source.counters().connected) == (1, False)


def test_leaving_early_closes_the_session_at_once() -> None:
    source = Scripted([Frame(IMAGE, "1"), Frame(IMAGE, "2")])
    items = iter(source)
    next(items)
    items.close()  # type: ignore[attr-defined]  # a generator
    assert source.closed == 1


def test_a_cause_is_told_once_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gone: list[list[Frame | LostFrame | Exception | None]] = [[SourceError("gone")] for _ in range(4)]
    list(Scripted(*gone, [SourceError("in use")], [None]))
    said = [(r.levelname, r.getMessage().split(";")[0]) for r in caplog.records]
    assert said == [("WARNING", "gone"), ("INFO", "gone"), ("INFO", "gone"), ("INFO", "gone"), ("WARNING", "in use")]


def test_a_fault_of_ours_is_not_taken_for_a_lost_device() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Scripted([ZeroDivisionError()]))
