"""Results as rows of the archive's tables."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, NoReturn

from jetspect.runtime.consuming.ledger import StationLedger
from jetspect.runtime.consuming.reader import Received
from jetspect.runtime.publishing.result_message import ResultMessage

Row = dict[str, Any]
_LARGEST = 2**63 - 1
_LONGEST_PART = 512  # an index of PostgreSQL takes 2,700 bytes


def result_row(received: Received, message: ResultMessage, at: datetime) -> Row:
    """Return the row of ``jetspect_results``, with the whole message as it came.

    Raises
    ------
    ValueError
        It cannot be a row; the message says why.
    """
    frame, station, model = message.frame, message.station, message.model
    try:
        whole = json.loads(received.payload, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("payload: nested too deeply") from error
    width_px, height_px = frame.size_wh or (None, None)
    return {
        "event_id": message.event_id,
        "topic": received.topic,
        **station.model_dump(),
        "seq": message.seq,
        "frame_id": frame.id,
        "part_id": None if frame.part_id is None else short_part(frame.part_id),
        "captured_at": frame.captured_at,
        "inspected_at": frame.inspected_at,
        "archived_at": at,
        "verdict": message.verdict.value,
        "reasons": list(message.reasons),
        "defect_count": len(message.defects) + message.defects_truncated,
        "defects_truncated": message.defects_truncated,
        "decision": message.decision,
        "total_ms": message.timings_ms.get("total"),
        "width_px": width_px,
        "height_px": height_px,
        "model_name": model.name,
        "model_version": model.version,
        "manifest_sha256": model.manifest_sha256,
        "precision": model.precision,
        "engine": model.engine,
        "message": whole,
    }


def short_part(part_id: str) -> str:
    """Return what stands in the column for a part; one that no index takes is cut and ends with a digest of the whole."""
    if len(part_id) <= _LONGEST_PART:
        return part_id
    mark = "…" + hashlib.sha256(part_id.encode("utf-8", "surrogatepass")).hexdigest()
    return part_id[: _LONGEST_PART - len(mark)] + mark


def defect_rows(message: ResultMessage) -> list[Row]:
    rows = []
    for number, defect in enumerate(message.defects):
        x_min, y_min, x_max, y_max = defect.box_xyxy
        rows.append(
            {
                "event_id": message.event_id,
                "number": number,
                **defect.model_dump(include={"class_name", "area_px", "area_mm2", "peak", "mean", "touches_border"}),
                **{"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max},
                **{"centroid_x": defect.centroid_xy[0], "centroid_y": defect.centroid_xy[1]},
            }
        )
    return rows


def evidence_rows(message: ResultMessage) -> list[Row]:
    return [
        {"event_id": message.event_id, "number": number, **picture.model_dump(exclude={"box_xyxy"})}
        for number, picture in enumerate(message.evidence)
    ]


def station_row(topic: str, ledger: StationLedger) -> Row:
    return {
        "topic": topic,
        "first_seq": ledger.first,
        "last_seq": ledger.last,
        "up_to_seq": ledger.up_to,
        "missing": [list(span) for span in ledger.holes],
        "gone": min(ledger.gone, _LARGEST),
        "newest_at": ledger.newest_at,
        "outbox_id": ledger.outbox_id,
    }


def rejected_row(received: Received, reason: str, at: datetime) -> Row:
    """Return the row of a message that is no result or that the database refuses: nothing is thrown away."""
    return {
        "sha256": hashlib.sha256(received.topic.encode() + b"\0" + received.payload).hexdigest(),
        "topic": received.topic.replace("\0", "?"),
        "reason": reason.replace("\0", "?")[:500],
        "payload": received.payload,
        "archived_at": at,
    }


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"payload: {name} is no number in JSON")
