"""What the engines on a processor have in common: their buffers, and how they end."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import numpy as np

from jetspect.runtime.engines.base import U8, EngineInfo

_CACHED_SHAPES = 8
_Own = TypeVar("_Own", bound="ProcessorEngine")


class ProcessorEngine:
    """Keeps the scores of each tile shape in a buffer of its own, which the next run of that shape writes again."""

    def __init__(self, info: EngineInfo, *, classes: int) -> None:
        self._info, self._classes = info, classes
        self._scores: dict[tuple[int, int, int], U8] = {}
        self._decisions: U8 | None = None

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def decisions(self) -> U8 | None:
        return self._decisions

    def close(self) -> None:
        self._scores.clear()
        self._decisions = None

    def __enter__(self: _Own) -> _Own:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _scores_for(self, tiles: U8) -> U8:
        n, h, w, _ = tiles.shape
        scores = self._scores.get((n, h, w))
        if scores is None:
            if len(self._scores) >= _CACHED_SHAPES:
                self._scores.clear()
            scores = self._scores[n, h, w] = np.empty((n, self._classes, h, w), np.uint8)
        return scores
