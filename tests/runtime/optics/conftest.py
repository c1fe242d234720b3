from __future__ import annotations

import pytest
from board_views import BOARD, POSES, TRUTH

from jetspect.runtime.optics.board import Sighting, find_board
from jetspect.runtime.optics.solve import Solution, solve


@pytest.fixture(scope="session")
def seen() -> list[Sighting]:
    """The boards that are found in pictures of a known camera."""
    found = [find_board(TRUTH.picture(BOARD, pose, n), BOARD, f"{n}.png") for n, pose in enumerate(POSES)]
    assert None not in found
    return [f for f in found if f is not None]


@pytest.fixture(scope="session")
def solution(seen: list[Sighting]) -> Solution:
    return solve(seen, len(seen) - 1, BOARD)
