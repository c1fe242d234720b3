"""The station file: one inspection point as one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from jetspect.errors import InputError
from jetspect.runtime.checks import CheckSettings
from jetspect.runtime.foreground import ForegroundSettings
from jetspect.runtime.inspector import InspectorSettings
from jetspect.runtime.manifest import Precision
from jetspect.runtime.optics.settings import OpticsSettings
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.evidence import EvidenceSettings
from jetspect.runtime.publishing.topics import check_level
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.settings import LocalPath, Settings, load_settings
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.sources import SourceSettings
from jetspect.runtime.telemetry.settings import LogSettings, MetricsSettings
from jetspect.runtime.triggering.settings import MqttTrigger, TriggerSettings, check_fitting
from jetspect.runtime.verdict import VerdictRules
from jetspect.runtime.views import ViewSettings


class StationSettings(Settings):
    """``[station]``: where this inspection point stands; the levels of its MQTT topics."""

    namespace: str = Field("jetspect", description="First topic level")
    site: str = Field(description="Plant")
    area: str = Field(description="Area of the plant")
    line: str = Field(description="Line")
    unit: str = Field(description="This inspection point")

    @field_validator("namespace", "site", "area", "line", "unit")
    @classmethod
    def _topic_level(cls, value: str) -> str:
        try:
            return check_level(value)
        except InputError as error:
            raise ValueError(str(error)) from error


class BundleSettings(Settings):
    """``[bundle]``: the model."""

    path: LocalPath | None = Field(None, description="Bundle folder or .zip")
    slots: LocalPath | None = Field(
        None, description="Instead of path: folder that jetspect device deploy fills, switched while the station runs"
    )
    precision: Precision = Field("fp32", description="Which graph of the bundle runs; never changed quietly")
    public_key: LocalPath | None = Field(
        None, description="ed25519 public key (PEM); with it unsigned bundles are refused"
    )

    @model_validator(mode="after")
    def _one_place(self) -> BundleSettings:
        if (self.path is None) == (self.slots is None):
            raise ValueError("give path, one bundle, or slots, the folder that jetspect device deploy fills")
        return self


class EngineSettings(Settings):
    """``[engine]``: what executes the graph."""

    kind: Literal["onnxruntime", "openvino", "onnxruntime-cuda", "tensorrt", "auto"] = Field(
        "onnxruntime",
        description="onnxruntime and openvino run on the CPU, onnxruntime-cuda on any NVIDIA GPU; tensorrt runs what jetspect "
        "build made on this device; auto takes the fastest of them, by a short trial that is remembered",
    )
    threads: int = Field(0, ge=0, description="onnxruntime, openvino: threads of one run; 0 takes every core")
    folder: LocalPath | None = Field(
        None,
        description="tensorrt: where engines are; None: $JETSPECT_ENGINE_DIR, else jetspect/engines in the user's cache",
    )
    opt_level: int = Field(3, ge=0, le=5, description="tensorrt: optimisation level that the engine was built with")
    cuda_graph: bool = Field(False, description="tensorrt: replay runs as a CUDA graph, where many short kernels wait")

    @model_validator(mode="after")
    def _fitting(self) -> EngineSettings:
        if self.kind not in ("tensorrt", "auto"):
            given = [n for n in ("folder", "opt_level", "cuda_graph") if n in self.model_fields_set]
            if given:
                raise ValueError(f"{', '.join(given)} is for kind tensorrt, this is {self.kind}: leave it out")
        return self


class QueueSettings(Settings):
    """``[queue]``: what happens when frames come faster than they are inspected."""

    frames: int = Field(2, ge=1, le=64, description="Frames that may wait; each holds its image in memory")
    policy: Literal["block", "drop_oldest", "drop_newest"] = Field(
        "block", description="block: the source waits; otherwise the frame becomes an UNKNOWN result and is counted"
    )


class OutboxSettings(Settings):
    """``[outbox]``: the durable queue between the inspection and the broker."""

    path: LocalPath = Field(Path("outbox.sqlite"), validate_default=True, description="SQLite file")
    keep_hours: float = Field(72.0, ge=0, description="Acknowledged results stay this long for a replay")
    max_mb: int = Field(
        1024, ge=1, description="Above it pictures go first, then the oldest acknowledged results; unsent ones never"
    )


Source = Annotated[SourceSettings, Field(discriminator="kind")]


class StationConfig(Settings):
    """A whole station file."""

    station: StationSettings
    bundle: BundleSettings
    source: Source | None = Field(None, description="Where frames come from; or give [[view]] for several cameras")
    view: tuple[ViewSettings, ...] = Field((), description="Several cameras that look at the same part, in this order")
    trigger: TriggerSettings | None = Field(None, description="Without it every frame stands for itself")
    engine: EngineSettings = Field(default_factory=EngineSettings)
    optics: OpticsSettings = Field(default_factory=OpticsSettings)
    tiling: TilingSettings = Field(default_factory=TilingSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    verdict: VerdictRules = Field(default_factory=VerdictRules)
    foreground: ForegroundSettings = Field(default_factory=ForegroundSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    outbox: OutboxSettings = Field(default_factory=OutboxSettings)
    broker: BrokerSettings | None = Field(None, description="Without it results only wait in the outbox")
    slots: SlotSettings = Field(default_factory=SlotSettings)
    commands: CommandSettings = Field(default_factory=CommandSettings)
    evidence: EvidenceSettings | None = Field(None, description="Without it no pictures are kept")
    metrics: MetricsSettings | None = Field(None, description="Without it nothing listens for Prometheus")
    log: LogSettings = Field(default_factory=LogSettings)
    health_s: float = Field(10.0, ge=1, description="Seconds between two health messages")
    drain_s: float = Field(30.0, ge=0, description="On shutdown, seconds to deliver what is still in the outbox")

    @model_validator(mode="before")
    @classmethod
    def _defaults_beside_the_file(cls, data: Any) -> Any:
        # A missing section is read as an empty one, so that its default paths count from the file like all others.
        return {"outbox": {}, **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _cameras(self) -> StationConfig:
        if (self.source is None) == (not self.view):
            raise ValueError("give [source] for one camera, or [[view]] for each of several that look at the same part")
        names = [view.name for view in self.view]
        if len(set(names)) < len(names):
            raise ValueError(f"view.name must differ from view to view, got {', '.join(names)}")
        if self.view and self.trigger is None:
            raise ValueError(
                'several views need [trigger], which says what belongs together; kind = "camera" pairs by time'
            )
        if "slots" in self.model_fields_set and self.bundle.slots is None:
            raise ValueError("[slots] is for a station with bundle.slots, this one has bundle.path: leave it out")
        if self.slots.shadow and self.broker is None:
            raise ValueError("slots.shadow needs [broker], to which the differences go")
        check_fitting(self.trigger, self.sources)
        if isinstance(self.trigger, MqttTrigger) and self.broker is None:
            raise ValueError('trigger.kind = "mqtt" needs [broker], from which the triggers come')
        return self

    @property
    def sources(self) -> dict[str, SourceSettings]:
        """The cameras by view; a single one has no name."""
        return {view.name: view.source for view in self.view} if self.source is None else {"": self.source}

    @property
    def inspectors(self) -> dict[str, InspectorSettings]:
        """What each view is judged by; a single camera has no name."""
        common = self._inspector()
        return {view.name: view.over(common) for view in self.view} or {"": common}

    def _inspector(self) -> InspectorSettings:
        return InspectorSettings(
            tiling=self.tiling,
            checks=self.checks,
            verdict=self.verdict,
            foreground=self.foreground,
            pixel_pitch_mm=self.optics.pixel_pitch_mm,
            view=self.optics.view,
        )


def load_station(path: Path) -> StationConfig:
    """Read a station file; see :func:`jetspect.runtime.settings.load_settings` for errors."""
    return load_settings(path, StationConfig)
