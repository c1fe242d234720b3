"""Where frames come from. Every source has its settings model and follows :class:`jetspect.runtime.frames.Source`."""

from __future__ import annotations

from jetspect.runtime.frames import Source
from jetspect.runtime.sources.folder import FolderSettings, FolderSource
from jetspect.runtime.sources.gige import GigeSettings, GigeSource
from jetspect.runtime.sources.gstreamer import GStreamerSettings, GStreamerSource
from jetspect.runtime.sources.replay import ReplaySettings, ReplaySource
from jetspect.runtime.sources.synthetic import SyntheticSettings, SyntheticSource
from jetspect.runtime.sources.video import VideoSettings, VideoSource

SourceSettings = FolderSettings | ReplaySettings | VideoSettings | GigeSettings | GStreamerSettings | SyntheticSettings


def open_source(settings: SourceSettings) -> Source:
    """Open the source that the settings describe. Raises SourceError where it cannot be opened."""
    if isinstance(settings, FolderSettings):
        return FolderSource(settings)
    if isinstance(settings, ReplaySettings):
        return ReplaySource(settings)
    if isinstance(settings, VideoSettings):
        return VideoSource(settings)
    if isinstance(settings, GigeSettings):
        return GigeSource(settings)
    if isinstance(settings, GStreamerSettings):
        return GStreamerSource(settings)
    return SyntheticSource(settings)
