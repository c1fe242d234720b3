"""``[slots]`` of a station file: when a new bundle has passed its probation, and when it has to go."""

from __future__ import annotations

from pydantic import Field

from jetspect.runtime.settings import Settings


class SlotSettings(Settings):
    """``[slots]``: the probation of a newly deployed bundle, compared with the last frames of the one before."""

    probation_minutes: float = Field(30.0, ge=0, le=10_080, description="How long it lasts at least; 0: there is none")
    min_frames: int = Field(50, ge=1, le=2000, description="It also takes so many frames to pass")
    max_nok_rise: float = Field(
        0.05,
        ge=0,
        le=1,
        description="More NOK than before, as a share of all frames (0.05: five in a hundred), ends it",
    )
    max_unknown_rise: float = Field(0.02, ge=0, le=1, description="The same for UNKNOWN")
    max_latency_factor: float = Field(
        1.5, ge=1, le=100, description="Median time of a frame, as a multiple of the old bundle's, that ends it"
    )
    max_errors: int = Field(3, ge=0, description="Inspections that end with an error; more than so many end it")
    shadow: bool = Field(
        False,
        description="The bundle that is not live judges the same frames when there is time; differences are published",
    )
    max_crashes: int = Field(
        2,
        ge=0,
        le=100,
        description="Times that the station may die without an end of its own; more than so many end it",
    )
