"""``[trigger]`` of a station file: what starts a picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from jetspect.runtime.settings import LocalPath, Settings
from jetspect.runtime.sources import SourceSettings


class CommonTrigger(Settings):
    """What every kind of trigger has."""

    model_config = ConfigDict(allow_inf_nan=False)

    deadline_ms: float = Field(
        500.0, gt=0, le=60_000, description="From the trigger to the first data of its frame; later it is a missed part"
    )
    transfer_ms: float = Field(
        500.0, ge=0, le=60_000, description="From there until the frame is whole: so much later it is given up"
    )
    shots: int = Field(1, ge=1, le=1000, description="Triggers that make one part; every camera takes each of them")
    part_timeout_s: float = Field(
        30.0, gt=0, le=3600, description="shots > 1: without the next trigger for so long the part is closed as UNKNOWN"
    )


class CameraTrigger(CommonTrigger):
    """``kind = "camera"``: the cameras are triggered by wire, or run freely; each picture starts a part."""

    kind: Literal["camera"] = "camera"


class FiredTrigger(CommonTrigger):
    """A trigger that the station learns of, and how a picture comes of it."""

    fire: Literal["next_frame", "software", "line"] = Field(
        "next_frame",
        description="next_frame: the cameras run freely, the first frame after the trigger counts; software: the station "
        'triggers them (source.trigger = "Software"); line: they are triggered by wire, the message names the part',
    )
    delay_ms: float = Field(
        0.0, ge=0, le=10_000, description="next_frame: only a frame captured so long after the trigger counts"
    )

    @model_validator(mode="after")
    def _in_time(self) -> FiredTrigger:
        if self.fire != "next_frame" and self.delay_ms:
            raise ValueError(f"delay_ms is for fire = next_frame, this is {self.fire}: leave it out")
        if self.delay_ms >= self.deadline_ms:
            raise ValueError(f"deadline_ms ({self.deadline_ms:g}) must be longer than delay_ms ({self.delay_ms:g})")
        return self


class MqttTrigger(FiredTrigger):
    """``kind = "mqtt"``: a message on ``cmd/trigger`` starts a picture and names its part."""

    kind: Literal["mqtt"] = "mqtt"
    early_ms: float = Field(
        0.0, ge=0, le=10_000, description="line: a frame may come so long before the message that names its part"
    )

    @model_validator(mode="after")
    def _early(self) -> MqttTrigger:
        if self.fire != "line" and self.early_ms:
            raise ValueError(f"early_ms is for fire = line, this is {self.fire}: leave it out")
        return self


class _Own(FiredTrigger):
    @model_validator(mode="after")
    def _by_the_station(self) -> _Own:
        if self.fire == "line":
            raise ValueError('fire = "line" is for kind = "mqtt"; cameras triggered by wire alone have kind = "camera"')
        return self


class TimerTrigger(_Own):
    """``kind = "timer"``: a picture at a fixed rate."""

    kind: Literal["timer"] = "timer"
    period_s: float = Field(ge=0.001, le=86_400, description="Seconds between two triggers")

    @model_validator(mode="after")
    def _before_it_closes(self) -> TimerTrigger:
        if self.shots > 1 and self.period_s >= self.part_timeout_s:
            raise ValueError(
                f"part_timeout_s ({self.part_timeout_s:g}) must be longer than period_s ({self.period_s:g}), or the part is "
                "closed before its next shot"
            )
        return self


class EncoderTrigger(_Own):
    """``kind = "encoder"``: a picture each time the material has moved on by a fixed pitch."""

    kind: Literal["encoder"] = "encoder"
    count_file: LocalPath = Field(
        description="File that holds the count, as Linux shows a counter: /sys/bus/counter/devices/counter0/count0/count"
    )
    counts_per_mm: float = Field(description="Counts for one millimetre of travel; negative where it counts down")
    pitch_mm: float = Field(gt=0, description="Travel from one picture to the next, mm")
    wraps_at: int | None = Field(None, ge=2, description="Counts after which the counter is at 0 again; None: never")
    poll_ms: float = Field(2.0, ge=0.5, le=1000, description="How often the count is read")

    @field_validator("counts_per_mm")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0:
            raise ValueError("must not be 0")
        return value

    @model_validator(mode="after")
    def _resolved(self) -> EncoderTrigger:
        counts = abs(self.counts_per_mm) * self.pitch_mm
        if counts < 1:
            raise ValueError(f"pitch_mm is {counts:g} counts of the encoder: it must be at least one, make it longer")
        return self


TriggerKind = CameraTrigger | MqttTrigger | TimerTrigger | EncoderTrigger
TriggerSettings = Annotated[TriggerKind, Field(discriminator="kind")]


def check_fitting(trigger: TriggerKind | None, sources: dict[str, SourceSettings]) -> None:
    """Raise ValueError where triggers and cameras do not fit each other."""
    soft = [name for name, source in sources.items() if getattr(source, "trigger", None) == "Software"]
    fire = getattr(trigger, "fire", None)
    if soft and fire != "software":
        raise ValueError(
            f'{_named(soft)} has trigger = "Software", which nothing sends: add [trigger] with fire = "software"'
        )
    if fire == "software" and (hard := [name for name in sources if name not in soft]):
        raise ValueError(
            f'trigger.fire = "software" needs kind = "gige" and trigger = "Software" at every source; not so: {_named(hard)}'
        )
    if fire == "next_frame":
        held = [name for name, source in sources.items() if getattr(source, "trigger", None) is not None]
        if held:
            raise ValueError(
                f'trigger.fire = "next_frame" needs cameras that run freely; {_named(held)} waits for a trigger'
            )
    if fire == "line":
        free = [name for name, source in sources.items() if source.kind == "gige" and source.trigger is None]
        if free:
            raise ValueError(
                f'trigger.fire = "line" needs cameras triggered by wire; {_named(free)} runs freely: name its input, '
                'trigger = "Line1", or use fire = "next_frame"'
            )
    wheres = [source.where for source in sources.values() if source.kind == "gige"]
    if len(set(wheres)) < len(wheres):
        raise ValueError(f"one camera cannot be two views, got {', '.join(wheres)}")
    if trigger is not None and not (trigger.kind == "camera" and len(sources) == 1):
        for name, source in sources.items():
            why = _without_time(source)
            if why:
                raise ValueError(
                    f"frames are given to parts by when they were captured, which {_named([name])} does not tell: {why}"
                )


def _without_time(source: SourceSettings) -> str:
    """Say why it is not known when the frames of a source came; empty where it is."""
    if source.kind in ("folder", "video"):
        return f'kind = "{source.kind}" knows only when a frame was read; use gige or gstreamer'
    if source.kind == "replay":
        return 'kind = "replay" has the times of the recording; use it without [trigger] or alone with kind = "camera"'
    if source.kind == "gstreamer" and not source.drop:
        return "with drop = false its frames wait, which is for files; leave drop out"
    if source.kind == "gige" and source.clock == "camera":
        return 'with clock = "camera" it may be up to a second off; leave clock out'
    return ""


def _named(names: list[str]) -> str:
    return ", ".join(f"view {name}" if name else "the source" for name in names)
