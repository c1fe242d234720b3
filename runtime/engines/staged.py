"""Two engines that belong together: stage two of a bundle, which looks for defects, and stage one, which finds the part."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType

from jetspect.runtime.engines.base import U8, Engine, EngineInfo


class StagedEngine:
    """Stage two's engine, ``defects``, with stage one's at hand as ``foreground``; both are closed together."""

    def __init__(self, defects: Engine, foreground: Engine) -> None:
        self.defects = defects
        self.foreground = foreground

    @property
    def info(self) -> EngineInfo:
        """Stage two's; where stage one runs on something else, that is said too."""
        info, first = self.defects.info, self.foreground.info
        if (info.name, info.precision) == (first.name, first.precision):
            return info
        return replace(info, device=f"{info.device}, stage one with {first}")

    @property
    def dynamic(self) -> bool:
        return self.defects.dynamic

    def run(self, tiles: U8) -> U8:
        return self.defects.run(tiles)

    @property
    def decisions(self) -> U8 | None:
        return self.defects.decisions

    def close(self) -> None:
        try:
            self.defects.close()
        finally:
            self.foreground.close()

    def __enter__(self) -> StagedEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
