"""The synthetic camera as a source of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.settings import Settings
from jetspect.runtime.sources.stoppable import StoppableSource
from jetspect.runtime.sources.synthetic.part import MAX_SIDE_PX, MIN_SIDE_PX, render_part


class SyntheticSettings(Settings):
    """``[source]`` with ``kind = "synthetic"``."""

    kind: Literal["synthetic"] = "synthetic"
    size_wh: tuple[int, int] = Field((5472, 3648), description="Width and height of a frame in px, 64-8192")
    frames: int = Field(0, ge=0, description="Parts to show; 0 goes on for ever")
    rate_hz: float = Field(0.0, ge=0, description="Parts per second; 0: as fast as they are taken")
    ok_share: float = Field(0.5, ge=0, le=1, description="Share of parts without a defect")
    seed: int = Field(0, ge=0, description="The same seed shows the same parts")

    @field_validator("size_wh")
    @classmethod
    def _renderable(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in value):
            raise ValueError(f"width and height must be {MIN_SIDE_PX}-{MAX_SIDE_PX} px")
        return value


class SyntheticSource(StoppableSource):
    """Shows one rendered part after the other; frame ``n`` depends on the settings and ``n`` alone."""

    def __init__(self, settings: SyntheticSettings) -> None:
        super().__init__()
        self._settings = settings

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        settings = self._settings
        due = time.monotonic()
        number = 0
        while not self._stop.is_set() and (settings.frames == 0 or number < settings.frames):
            clean = np.random.default_rng([settings.seed, number]).random() < settings.ok_share
            seed = settings.seed * 1_000_003 + number
            part = render_part(seed, settings.size_wh, defects=0 if clean else None)
            if settings.rate_hz > 0:
                self._stop.wait(max(0.0, due - time.monotonic()))
                due = max(due + 1 / settings.rate_hz, time.monotonic() - 1 / settings.rate_hz)
            if self._stop.is_set():
                return
            number += 1
            name = f"synthetic-{settings.seed}-{number:06d}"
            yield Frame(part.image, frame_id=name, part_id=f"P{number:06d}", origin=f"synthetic {part.texture}")
