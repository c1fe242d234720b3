"""From an inspection to the message that is published for it."""

from __future__ import annotations

from collections.abc import Sequence

from jetspect.runtime.parts import PartResult
from jetspect.runtime.publishing.message_base import StationAddress, model_info
from jetspect.runtime.publishing.result_message import (
    DefectInfo,
    EvidenceRef,
    FrameInfo,
    PartInfo,
    ResultMessage,
    ViewInfo,
)
from jetspect.runtime.results import Inspection


def describe_defects(inspection: Inspection) -> tuple[DefectInfo, ...]:
    """Return the defects as they are published; coordinates and probabilities keep four decimals."""
    return tuple(
        DefectInfo(
            class_name=d.class_name,
            area_px=d.area_px,
            area_mm2=None if d.area_mm2 is None else round(d.area_mm2, 4),
            box_xyxy=d.box_xyxy,
            centroid_xy=(round(d.centroid_xy[0], 2), round(d.centroid_xy[1], 2)),
            peak=round(d.peak, 4),
            mean=round(d.mean, 4),
            polygon_xy=d.polygon_xy,
            touches_border=d.touches_border,
            centroid_mm=None if d.centroid_mm is None else (round(d.centroid_mm[0], 4), round(d.centroid_mm[1], 4)),
            length_mm=None if d.length_mm is None else round(d.length_mm, 4),
            width_mm=None if d.width_mm is None else round(d.width_mm, 4),
        )
        for d in inspection.defects
    )


def timings_ms(inspection: Inspection) -> dict[str, float]:
    t = inspection.timings
    stages = ("checks", "foreground", "gather", "engine", "scatter", "postprocess", "verdict", "total")
    return {stage: round(float(getattr(t, f"{stage}_ms")), 3) for stage in stages}


def result_message(
    inspection: Inspection,
    station: StationAddress,
    seq: int,
    event_id: str,
    evidence: Sequence[EvidenceRef] = (),
    part: PartResult | None = None,
    outbox_id: str | None = None,
) -> ResultMessage:
    """Put an inspection into the message that is published for it."""
    shot = inspection.shot
    return ResultMessage(
        event_id=event_id,
        seq=seq,
        station=station,
        frame=FrameInfo(
            id=inspection.frame_id,
            part_id=inspection.part_id,
            captured_at=inspection.captured_at,
            inspected_at=inspection.inspected_at,
            size_wh=inspection.size_wh,
            origin=inspection.origin,
            exposure_us=inspection.exposure_us,
            triggered_at=shot.triggered_at if shot is not None else None,
            view=shot.view or None if shot is not None else None,
            shot=shot.number if shot is not None else None,
        ),
        verdict=inspection.verdict,
        reasons=inspection.reasons,
        defects=describe_defects(inspection),
        defects_truncated=inspection.defects_truncated,
        tiles=inspection.tiles,
        tiles_skipped=inspection.tiles_skipped,
        timings_ms=timings_ms(inspection),
        model=model_info(inspection.model),
        evidence=tuple(evidence),
        decision=None if inspection.decision is None else round(inspection.decision, 4),
        lost_cause=None if inspection.lost_cause is None else inspection.lost_cause.value,
        part=None if part is None else _part_info(part),
        outbox_id=outbox_id,
        throttled=inspection.throttled or None,
    )


def _part_info(part: PartResult) -> PartInfo:
    return PartInfo(
        part_id=part.part_id,
        verdict=part.verdict,
        triggered_at=part.triggered_at,
        views=tuple(
            ViewInfo(view=v.view, shot=v.number, verdict=v.verdict, seq=v.seq, event_id=v.event_id, defects=v.defects)
            for v in part.views
        ),
    )
