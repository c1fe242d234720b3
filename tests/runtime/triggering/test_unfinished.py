"""Parts that a station had begun when it was killed."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import LostFrame
from jetspect.runtime.parts import PartMerger, PartResult, ViewResult
from jetspect.runtime.publishing.message_base import ModelInfo, StationAddress
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.result_message import FrameInfo, ResultMessage
from jetspect.runtime.results import Verdict
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.triggering.unfinished import unfinished_parts

AT = datetime(2026, 5, 4, tzinfo=timezone.utc)
ADDRESS = StationAddress(namespace="n", site="s", area="a", line="l", unit="u")
MODEL = ModelInfo(name="m", version="1", manifest_sha256="0" * 64, precision="fp32", engine="e")


def record(outbox: Outbox, part_id: str, view: str, shot: int = 1, topic: str = "result") -> None:
    frame = FrameInfo(
        id="f", part_id=part_id, captured_at=AT, inspected_at=AT, triggered_at=AT, view=view or None, shot=shot
    )

    def build(seq: int, event_id: str) -> bytes:
        return ResultMessage(
            event_id=event_id, seq=seq, station=ADDRESS, frame=frame, verdict=Verdict.OK, model=MODEL
        ).payload()

    outbox.commit(topic, build)


def close(merger: PartMerger, owed: tuple[LostFrame, ...]) -> list[PartResult]:
    """Record what is owed; return the parts that it completes."""
    closed = []
    for item in owed:
        assert item.shot is not None
        latest = ViewResult(item.shot.view, item.shot.number, Verdict.UNKNOWN, 99, "e", 0)
        whole = merger.merged(item.shot, latest)
        merger.note(item.shot, latest)
        closed += [whole] if whole is not None else []
    return closed


def test_the_same_name_twice_is_two_parts(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(2):
            record(outbox, "A", "top")
        merger, owed = unfinished_parts(outbox, "result", ["top", "side"], 1)
    closed = close(merger, owed)
    assert [[v.view for v in part.views] for part in closed] == [["side", "top"]] * 2
    assert len(merger) == 0


@pytest.mark.parametrize(("views", "shots"), [(["top"], 1), (["top", "side"], 1), (["other"], 1), (["top"], 3)])
def test_a_part_gets_its_verdict_also_from_a_station_that_was_set_up_anew(
    tmp_path: Path, views: list[str], shots: int
) -> None:
    with Outbox(tmp_path / "o") as outbox:
        record(outbox, "A", "top")
        record(outbox, "A", "top", 2)
        merger, owed = unfinished_parts(outbox, "result", views, shots)
    (closed,) = close(merger, owed)
    assert (closed.part_id, closed.verdict) == ("A", Verdict.UNKNOWN)
    assert len(merger) == 0


def test_a_station_that_stood_for_long_still_knows_the_part(tmp_path: Path, metal_demo: Path) -> None:
    """Power failed before the holidays: what is older than keep_hours is forgotten at the start, after a look at it."""
    free = {"kind": "synthetic", "size_wh": [320, 256], "frames": 1}
    data = {
        "station": {"namespace": "n", "site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": str(metal_demo)},
        "outbox": {"path": str(tmp_path / "o"), "keep_hours": 0},
        "view": [{"name": name, "source": free} for name in ("top", "side")],
        "trigger": {"kind": "camera"},
    }
    with Outbox(tmp_path / "o") as outbox:
        record(outbox, "A", "top", topic="n/v1/s/a/l/u/result")
        outbox.ack([1])
    with build_station(parse_settings(data, StationConfig, where="test")) as station:
        station.run()
    with Outbox(tmp_path / "o") as outbox:
        messages = [ResultMessage.model_validate_json(row.payload) for row in outbox.pending()]
    assert [m.part.verdict for m in messages if m.part is not None and m.part.part_id == "A"] == [Verdict.UNKNOWN]
