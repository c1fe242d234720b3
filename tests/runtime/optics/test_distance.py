from __future__ import annotations

import pytest

from jetspect.errors import InputError
from jetspect.runtime.optics.distance import Span, pitch_of


def span(x1: float, y1: float, x2: float, y2: float, mm: float) -> Span:
    return Span((x1, y1), (x2, y2), mm)


def test_the_pitch_is_all_mm_over_all_pixels() -> None:
    pitch = pitch_of([span(0, 0, 300, 400, 50), span(10, 10, 10, 1010, 100)])
    assert pitch.pixel_pitch_mm == pytest.approx(0.1)
    assert pitch.spread == pytest.approx(0)
    assert pitch.warnings == ()


def test_one_distance_cannot_show_what_is_wrong_with_it() -> None:
    (warning,) = pitch_of([span(0, 0, 1000, 0, 50)]).warnings
    assert "one distance cannot show perspective" in warning


def test_distances_that_disagree_are_told() -> None:
    pitch = pitch_of([span(0, 0, 1000, 0, 50), span(0, 0, 0, 1000, 53)])
    assert pitch.spread == pytest.approx(3 / 51.5)
    assert "disagree by 5.8%" in pitch.warnings[0]


def test_short_distances_leave_the_pitch_open() -> None:
    pitch = pitch_of([span(0, 0, 20, 0, 1), span(0, 0, 0, 20, 1)])
    assert pitch.reading == pytest.approx(0.7 / 40 * 2**0.5)
    assert "leave the pitch open by 2.5%" in pitch.warnings[0]


@pytest.mark.parametrize(
    ("spans", "says"),
    [
        ([], "no distance is given"),
        ([span(5, 5, 5, 5, 1)], "are 0 px apart; at least 2 are needed"),
        ([span(0, 0, float("nan"), 5, 1)], "are nan px apart"),
        ([span(0, 0, 100, 0, 0)], "must be above 0 mm; got 0"),
        ([span(0, 0, 100, 0, float("inf"))], "must be above 0 mm; got inf"),
    ],
)
def test_what_is_no_distance_is_refused(spans: list[Span], says: str) -> None:
    with pytest.raises(InputError, match=says):
        pitch_of(spans)
