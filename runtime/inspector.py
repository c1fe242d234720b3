"""Frame -> inspection: the hot path of a station."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter_ns
from types import TracebackType

import numpy as np
import numpy.typing as npt
from pydantic import Field

from jetspect.errors import ImageError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.checks import CheckSettings, check_frame
from jetspect.runtime.detector import Detection, open_detector
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.foreground import ForegroundMask, ForegroundSettings, open_finder
from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.images import read_image
from jetspect.runtime.optics.scale import Scale, other_size
from jetspect.runtime.optics.settings import OpticsSettings
from jetspect.runtime.postprocess.reference import keep_exact, largest, paint, to_defect
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.results import Defect, Inspection, ModelIdentity, Prediction, Timings, Verdict
from jetspect.runtime.verdict import VerdictRules, decide, judge

U8 = npt.NDArray[np.uint8]


class InspectorSettings(OpticsSettings):
    """What a station adds to a bundle: geometry of the view, input checks and verdict rules."""

    tiling: TilingSettings = Field(default_factory=TilingSettings)
    checks: CheckSettings = Field(default_factory=CheckSettings)
    verdict: VerdictRules = Field(default_factory=VerdictRules)
    foreground: ForegroundSettings = Field(default_factory=ForegroundSettings)
    max_reported: int = Field(500, ge=1, description="Defects described one by one; the largest ones are kept")


class Inspector:
    """Inspects frames with one bundle in one engine. Closing it closes the engine.

    Not thread-safe; the score map is reused from frame to frame.

    Raises
    ------
    InputError
        Settings that do not fit the bundle: an unknown class, limits in mm2 without a scale, a view of another size, a wrong
        tile size, tiles or a region for a model that sees whole frames, rules for counting where the model itself decides.
    """

    def __init__(self, bundle: Bundle, engine: Engine, settings: InspectorSettings | None = None) -> None:
        self._settings = settings or InspectorSettings()
        self._manifest = bundle.manifest.at(engine.info.precision)
        self._engine = engine
        self._check_settings()
        self._limits_in_mm = any(c.min_area_mm2 is not None for c in self._manifest.output.classes)
        self._scale = self._open_scale()
        pixel_area = None if self._scale is None else self._scale.largest_pixel_mm2
        self._detector = open_detector(self._manifest, engine, self._settings.tiling, pixel_area)
        self._finder = open_finder(self._manifest, engine, self._settings.foreground)
        self._try_region()
        self.model = ModelIdentity(
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            manifest_sha256=bundle.manifest_sha256,
            precision=engine.info.precision,
            engine=str(engine.info),
        )

    def inspect(self, frame: Frame | LostFrame) -> Inspection:
        """Judge one frame. A lost frame, or one that fails the input checks, is UNKNOWN."""
        if isinstance(frame, LostFrame):
            return self._unknown(frame, (frame.reason,), None, Timings())
        start = perf_counter_ns()
        reasons = (*other_size(self._scale, frame.size_wh), *check_frame(frame.image, self._settings.checks))
        checked = perf_counter_ns()
        if reasons:
            spent = (checked - start) / 1e6
            return self._unknown(frame, reasons, frame.size_wh, Timings(checks_ms=spent, total_ms=spent))
        mask = self.foreground(frame.image)
        reasons = self._without_part(mask)
        shown = perf_counter_ns()
        if reasons:
            until = Timings((checked - start) / 1e6, (shown - checked) / 1e6, total_ms=(shown - start) / 1e6)
            return self._unknown(frame, reasons, frame.size_wh, until)
        found = self._search(frame.image, mask, self._settings.max_reported)
        scored = perf_counter_ns()
        hw = found.grid.frame_hw
        defects = tuple(to_defect(c, self._manifest.output, hw, self._scale) for c in found.components)
        described = perf_counter_ns()
        verdict, reasons = self._verdict(defects, found.dropped, found.decision)
        end = perf_counter_ns()
        return Inspection(
            frame_id=frame.frame_id,
            captured_at=frame.captured_at,
            inspected_at=utc_now(),
            verdict=verdict,
            reasons=reasons,
            defects=defects,
            size_wh=frame.size_wh,
            model=self.model,
            timings=Timings(
                checks_ms=(checked - start) / 1e6,
                foreground_ms=(shown - checked) / 1e6,
                gather_ms=found.gather_ms,
                engine_ms=found.engine_ms,
                scatter_ms=found.scatter_ms,
                postprocess_ms=found.find_ms + (described - scored) / 1e6,
                verdict_ms=(end - described) / 1e6,
                total_ms=(end - start) / 1e6,
            ),
            tiles=len(found.grid.tiles),
            tiles_skipped=found.grid.skipped,
            defects_truncated=found.dropped,
            part_id=frame.part_id,
            origin=frame.origin,
            decision=found.decision,
            exposure_us=frame.exposure_us,
            shot=frame.shot,
        )

    def segment(self, image: U8) -> U8:
        """Return the class mask of an image after post-processing: uint8 H x W, 0 background, k class k-1."""
        return self.predict(image).mask

    def predict(self, image: U8) -> Prediction:
        """Return everything that the bundle says of an image, from one run; its score map is valid until the next one."""
        for reason in other_size(self._scale, (image.shape[1], image.shape[0])):
            raise ImageError(reason)
        found = self._search(image, self.foreground(image), None)
        mask = paint(found.components, found.grid.frame_hw)
        return Prediction(mask, self._detector.score_map(), found.decision)

    def score_map(self, image: U8) -> U8:
        """Return a copy of the stitched score map: uint8 K x H x W."""
        return np.array(self.predict(image).scores)

    def foreground(self, image: U8) -> ForegroundMask | None:
        """Return where stage one sees the part; None for a bundle of one stage, or where the station switched it off."""
        return None if self._finder is None else self._finder.find(image)

    @property
    def tile_px(self) -> int:
        return self._detector.tile_px

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(c.name for c in self._manifest.output.classes)

    def close(self) -> None:
        try:
            self._detector.close()
        finally:
            self._engine.close()

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _search(self, image: U8, mask: ForegroundMask | None, limit: int | None) -> Detection:
        if self._scale is None or not self._scale.varies or not self._limits_in_mm:
            return self._detector.detect(image, mask, limit=limit)
        # Only what is measured can be counted: a component too small in mm2 must not take the place of another one.
        found = self._detector.detect(image, mask)
        start = perf_counter_ns()
        exact = keep_exact(found.components, self._manifest.output, self._scale)
        kept = largest(exact, limit)
        find_ms = found.find_ms + (perf_counter_ns() - start) / 1e6
        return replace(found, components=kept, dropped=len(exact) - len(kept), find_ms=find_ms)

    def _without_part(self, mask: ForegroundMask | None) -> tuple[str, ...]:
        """Say why a frame cannot be judged in which stage one sees too little of the part."""
        if mask is None or self._finder is None:
            return ()
        share, least = self._detector.share(mask), self._finder.min_foreground
        where = "frame" if self._settings.tiling.whole_frame else "region"
        if share >= least:
            return ()
        covers = f"foreground covers {100 * share:.1f} % of the {where}"
        return (f"no part in view: {covers}, at least {100 * least:.2g} % is needed",)

    def _verdict(
        self, defects: tuple[Defect, ...], truncated: int, decision: float | None
    ) -> tuple[Verdict, tuple[str, ...]]:
        spec = self._manifest.output.decision
        if spec is not None and decision is not None:
            return decide(decision, spec, len(defects) + truncated)
        verdict, reasons = judge(defects, self._settings.verdict)
        if truncated:
            return Verdict.NOK, (*reasons, f"{truncated} more defects are not listed")
        return verdict, reasons

    def _unknown(
        self, frame: Frame | LostFrame, reasons: tuple[str, ...], size_wh: tuple[int, int] | None, timings: Timings
    ) -> Inspection:
        return Inspection(
            frame_id=frame.frame_id,
            captured_at=frame.captured_at,
            inspected_at=utc_now(),
            verdict=Verdict.UNKNOWN,
            reasons=reasons,
            defects=(),
            size_wh=size_wh,
            model=self.model,
            timings=timings,
            part_id=frame.part_id,
            origin=frame.origin,
            exposure_us=frame.exposure_us if isinstance(frame, Frame) else None,
            shot=frame.shot,
            lost_cause=frame.cause if isinstance(frame, LostFrame) else None,
        )

    def _try_region(self) -> None:
        """Find a region that cannot work before the first frame, as far as the frame's size is known."""
        mask, size_wh = self._settings.tiling.roi_mask, self._settings.checks.size_wh
        if size_wh is not None:
            self._detector.prepare((size_wh[1], size_wh[0]))
        elif mask is not None:
            height, width = read_image(mask).shape[:2]
            self._detector.prepare((height, width))

    def _check_settings(self) -> None:
        spec = self._manifest.output.decision
        if spec is not None and self._settings.verdict != VerdictRules():
            raise InputError(
                f"bundle {self._manifest.name} decides on the image as a whole (NOK at or above {spec.threshold:g}), so rules "
                "that count defects have no say: leave [verdict] out"
            )
        known = [c.name for c in self._manifest.output.classes]
        unknown = sorted(set(self._settings.verdict.classes) - set(known))
        if unknown:
            raise InputError(
                f"verdict.classes names {', '.join(unknown)}, which bundle {self._manifest.name} does not have; "
                f"its classes are {', '.join(known)}"
            )

    def _open_scale(self) -> Scale | None:
        scale = self._settings.open_scale()
        if scale is None and (self._limits_in_mm or self._settings.verdict.needs_pitch):
            raise InputError(
                "limits in mm2 need the pixel pitch or a calibrated view; set optics.pixel_pitch_mm or optics.view in the "
                "station file"
            )
        expected = self._settings.checks.size_wh
        for reason in other_size(scale, expected) if expected is not None else ():
            raise InputError(f"optics.view does not fit checks.size_wh: {reason}")
        return scale
