"""Times of frames by a clock that nobody sets."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from jetspect.runtime.triggering.dating import Dating


class Machine:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.now, self.offset = 100.0, 1_700_000_000.0

    def dating(self) -> Dating:
        return Dating(lambda: self.now + self.offset, lambda: self.now)

    def wall(self, at: float) -> datetime:
        return datetime.fromtimestamp(at + self.offset, timezone.utc)


@pytest.mark.parametrize("age_s", [0.0, 0.5, 59.0, 3600.0])
def test_a_frame_is_as_old_as_it_is_however_long_it_waited(age_s: float) -> None:
    machine = Machine()
    dating = machine.dating()
    machine.now += 4000
    assert dating.monotonic(machine.wall(machine.now - age_s)) == pytest.approx(machine.now - age_s, abs=1e-5)


@pytest.mark.parametrize("step_s", [-3600.0, -0.5, 0.5, 3600.0])
def test_a_frame_from_before_the_clock_was_set_has_no_time_and_the_next_one_has(step_s: float) -> None:
    machine = Machine()
    dating = machine.dating()
    before = machine.wall(machine.now)
    machine.now += 0.01
    machine.offset += step_s
    assert dating.monotonic(before) is None
    machine.now += 1.0
    assert dating.monotonic(machine.wall(machine.now - 0.25)) == pytest.approx(machine.now - 0.25, abs=1e-5)


def test_a_time_that_has_not_come_is_none() -> None:
    machine = Machine()
    assert machine.dating().monotonic(machine.wall(machine.now + 1)) is None
