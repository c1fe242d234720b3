"""Several cameras at one part: each may have its own region, checks, optics and rules; bundle and engine are shared."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Annotated

from pydantic import Field, field_validator

from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.checks import CheckSettings
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.foreground import ForegroundSettings
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.optics.settings import OpticsSettings
from jetspect.runtime.publishing.topics import check_level
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.results import Inspection, ModelIdentity
from jetspect.runtime.settings import Settings
from jetspect.runtime.sources import SourceSettings
from jetspect.runtime.verdict import VerdictRules


class ViewSettings(Settings):
    """``[[view]]``: one of several cameras that look at the same part. A section that it leaves out is the station's."""

    name: str = Field(description="Stands in results: top, side, ...")
    source: Annotated[SourceSettings, Field(discriminator="kind")]
    optics: OpticsSettings | None = Field(None, description="As [optics], for this camera")
    tiling: TilingSettings | None = Field(None, description="As [tiling], for this camera")
    checks: CheckSettings | None = Field(None, description="As [checks], for this camera")
    verdict: VerdictRules | None = Field(None, description="As [verdict], for this camera")
    foreground: ForegroundSettings | None = Field(None, description="As [foreground], for this camera")

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        try:
            return check_level(value)
        except InputError as error:
            raise ValueError(str(error)) from error

    def over(self, station: InspectorSettings) -> InspectorSettings:
        """Return the station's settings with those of this view in their place."""
        own = {name: getattr(self, name) for name in ("tiling", "checks", "verdict", "foreground")}
        changes = {name: value for name, value in own.items() if value is not None}
        if self.optics is not None:
            changes |= {"pixel_pitch_mm": self.optics.pixel_pitch_mm, "view": self.optics.view}
        return station.model_copy(update=changes)


class ViewInspectors:
    """Judges each frame by the settings of its view. Closing it closes the engine.

    Raises
    ------
    InputError
        Settings of a view do not fit the bundle; names the view.
    """

    def __init__(self, bundle: Bundle, engine: Engine, settings: Mapping[str, InspectorSettings]) -> None:
        self._by_view: dict[str, Inspector] = {}
        for name, each in settings.items():
            try:
                self._by_view[name] = Inspector(bundle, engine, each)
            except InputError as error:
                raise InputError(f"view {name}: {error}" if name else str(error)) from error
        self._first = next(iter(self._by_view.values()))

    def inspect(self, frame: Frame | LostFrame) -> Inspection:
        """Judge one frame; see :meth:`jetspect.runtime.inspector.Inspector.inspect`."""
        view = "" if frame.shot is None else frame.shot.view
        # A frame that a station owed may be of a view that is no more.
        return self._by_view.get(view, self._first).inspect(frame)

    @property
    def model(self) -> ModelIdentity:
        return self._first.model

    @property
    def classes(self) -> tuple[str, ...]:
        return self._first.classes

    @property
    def tile_px(self) -> int:
        return self._first.tile_px

    def close(self) -> None:
        for inspector in self._by_view.values():
            inspector.close()

    def __enter__(self) -> ViewInspectors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
