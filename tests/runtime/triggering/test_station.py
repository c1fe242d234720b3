"""Whole stations with triggers: MQTT in, verdicts on parts out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from delivery import wait_for
from paho.mqtt.enums import CallbackAPIVersion

from jetspect.errors import ConfigError, SourceError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.station import Station

BASE = "jetspect/v1/s/a/l/u"
FREE = {"kind": "synthetic", "size_wh": [320, 256], "rate_hz": 50, "ok_share": 1.0}


def config(tmp_path: Path, bundle: Path, **sections: Any) -> StationConfig:
    data: dict[str, Any] = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": str(bundle)},
        "outbox": {"path": str(tmp_path / "outbox.sqlite")},
        **sections,
    }
    return parse_settings(data, StationConfig, where="test")


@contextmanager
def running(settings: StationConfig) -> Iterator[Station]:
    with build_station(settings) as station:
        thread = threading.Thread(target=station.run)
        thread.start()
        try:
            yield station
        finally:
            station.stop()
            thread.join(timeout=30)
            assert not thread.is_alive()


class Controller:
    """A line controller: it triggers parts and reads their verdicts."""

    def __init__(self, port: int) -> None:
        self.results: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.online = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._take
        self._client.on_connect = lambda c, *_: c.subscribe(f"{BASE}/#", 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        leaf = message.topic.removeprefix(BASE + "/")
        if leaf == "cmd/trigger":
            return
        body = json.loads(message.payload)
        if leaf == "status":
            self.online = body["state"] == "online"
        elif leaf == "result":
            jsonschema.validate(body, json_schema("result"))
            self.results.append(body)
        elif leaf == "cmd/trigger/reply":
            jsonschema.validate(body, json_schema("cmd/trigger/reply"))
            self.replies.append(body)

    def send(self, body: dict[str, Any] | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._client.publish(f"{BASE}/cmd/trigger", data, qos=1)

    def ask(self, body: dict[str, Any] | bytes) -> dict[str, Any]:
        wait_for(lambda: self.online)
        count = len(self.replies)
        self.send(body)
        wait_for(lambda: len(self.replies) > count)
        return self.replies[-1]

    def trigger(self, request: str, part: str | None = None) -> dict[str, Any]:
        """Trigger until the station takes it; between online and the first look at the camera it says no."""
        deadline = time.monotonic() + 10
        while not (reply := self.ask({"request_id": request, "part_id": part}))["accepted"]:
            assert time.monotonic() < deadline, reply
        return reply

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def controller(mosquitto: Callable[..., Any]) -> Iterator[tuple[Controller, int]]:
    broker = mosquitto()
    each = Controller(broker.port)
    yield each, broker.port
    each.close()


def test_a_message_names_the_part_and_two_cameras_make_its_verdict(
    tmp_path: Path, metal_demo: Path, controller: tuple[Controller, int]
) -> None:
    plc, port = controller
    settings = config(
        tmp_path,
        metal_demo,
        view=[{"name": "top", "source": FREE}, {"name": "side", "source": {**FREE, "seed": 5}}],
        trigger={"kind": "mqtt", "deadline_ms": 5000},
        broker={"host": "127.0.0.1", "port": port},
    )
    with running(settings) as station:
        reply = plc.trigger("r1", "P 17/4")
        assert (reply["part_id"], reply["shot"]) == ("P 17/4", 1)
        wait_for(lambda: len(plc.results) == 2)
        again = plc.ask({"request_id": "r1", "part_id": "P 17/4"})
        assert again == reply, "the same request starts nothing"
        other = plc.ask({"request_id": "r1", "part_id": "P18"})
        assert not other["accepted"], "another part under its number is no repetition"
        assert "give each trigger its own request_id" in other["reason"]
        health = station.health()
        assert health.source.triggers is not None
        assert (health.source.triggers.asked, sum(health.parts.values())) == (1, 1)
    first, last = plc.results
    assert {r["frame"]["view"] for r in plc.results} == {"top", "side"}
    assert {r["frame"]["part_id"] for r in plc.results} == {"P 17/4"}
    assert {r["frame"]["triggered_at"] for r in plc.results} == {reply["triggered_at"]}
    assert "part" not in first
    part = last["part"]
    assert part["part_id"] == "P 17/4"
    order = ("OK", "UNKNOWN", "NOK")
    assert part["verdict"] == max((r["verdict"] for r in plc.results), key=order.index)
    assert {(v["view"], v["seq"], v["verdict"]) for v in part["views"]} == {
        (r["frame"]["view"], r["seq"], r["verdict"]) for r in plc.results
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff\xfe", "payload"),
        (b"[]", "payload"),
        ({"part_id": "P1"}, "request_id"),
        ({"request_id": "r", "part_id": ""}, "part_id"),
        ({"request_id": "r", "part_id": "x" * 65536}, "commands.max_bytes"),
        ({"request_id": "r", "part_id": "x" * 257}, "part_id"),
        ({"request_id": "r", "part_id": "a\nb"}, "printable"),
        ({"request_id": "r", "speed": 3}, "speed"),
    ],
)
def test_what_is_no_trigger_is_answered_and_starts_nothing(
    tmp_path: Path, metal_demo: Path, controller: tuple[Controller, int], body: Any, says: str
) -> None:
    plc, port = controller
    trigger = {"kind": "mqtt", "deadline_ms": 50, "transfer_ms": 0}
    settings = config(tmp_path, metal_demo, source=FREE, trigger=trigger, broker={"host": "127.0.0.1", "port": port})
    with running(settings) as station:
        reply = plc.ask(body)
        assert (reply["accepted"], says in reply["reason"]) == (False, True), reply
        triggers = station.health().source.triggers
        assert triggers is not None
        assert triggers.asked == 0


def test_a_camera_that_is_away_makes_missed_parts_and_no_lie(
    tmp_path: Path, metal_demo: Path, controller: tuple[Controller, int]
) -> None:
    plc, port = controller
    settings = config(
        tmp_path,
        metal_demo,
        source={"kind": "gige", "ip": "127.0.0.9", "trigger": "Software", "retry_s": 0.2},
        trigger={"kind": "mqtt", "fire": "software", "deadline_ms": 500},
        broker={"host": "127.0.0.1", "port": port},
    )
    with running(settings) as station:
        with pytest.raises(SourceError, match="does not answer"):
            station.check()
        plc.trigger("r1", "P1")
        wait_for(lambda: len(plc.results) == 1)
        assert "does not answer" in station.health().source.fault
    (missed,) = plc.results
    assert (missed["verdict"], missed["part"]["verdict"]) == ("UNKNOWN", "UNKNOWN")
    assert "did not reach the camera: camera 127.0.0.9 is not there" in missed["reasons"][0]


def test_a_part_that_a_killed_station_had_begun_gets_its_verdict(tmp_path: Path, metal_demo: Path) -> None:
    """What a kill leaves is an outbox that ends in the middle of a part."""
    views = [{"name": name, "source": {**FREE, "frames": 1}} for name in ("top", "side")]
    settings = config(tmp_path, metal_demo, view=views, trigger={"kind": "camera", "deadline_ms": 2000})
    with build_station(settings) as station:
        station.run()
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        rows = [json.loads(row.payload) for row in outbox.pending()]
        first = next(r for r in rows if "part" not in r)
    (tmp_path / "outbox.sqlite").rename(tmp_path / "whole.sqlite")
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        outbox.commit(
            f"{BASE}/result", lambda seq, event: json.dumps({**first, "seq": seq, "event_id": event}).encode()
        )
    with build_station(settings) as station:
        station.run()
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        after = [json.loads(row.payload) for row in outbox.pending()]
    begun, missing = after[:2]
    assert "restarted before its frame" in missing["reasons"][0]
    assert missing["part"]["part_id"] == first["frame"]["part_id"]
    assert [v["seq"] for v in missing["part"]["views"]].count(begun["seq"]) == 1
    assert {v["view"] for v in missing["part"]["views"]} == {"top", "side"}
    assert missing["part"]["verdict"] in ("UNKNOWN", "NOK")
    with build_station(settings) as station:
        station.run()
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        assert sum("restarted" in str(json.loads(r.payload)["reasons"]) for r in outbox.pending()) == 1


GIGE = {"kind": "gige", "ip": "127.0.0.9"}
TIMER = {"kind": "timer", "period_s": 1}
ENCODER = {"kind": "encoder", "count_file": "count", "counts_per_mm": 1, "pitch_mm": 10}


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({}, "give [source] for one camera, or [[view]]"),
        ({"source": FREE, "view": [{"name": "a", "source": FREE}]}, "give [source] for one camera, or [[view]]"),
        ({"view": [{"name": "a", "source": FREE}, {"name": "b", "source": FREE}]}, "several views need [trigger]"),
        (
            {"view": [{"name": "a", "source": FREE}] * 2, "trigger": {"kind": "timer", "period_s": 1}},
            "must differ from view to view, got a, a",
        ),
        ({"view": [{"name": "a/b", "source": FREE}], "trigger": {"kind": "camera"}}, "must not hold '/'"),
        ({"source": FREE, "trigger": {"kind": "mqtt"}}, "needs [broker]"),
        ({"source": FREE, "trigger": {"kind": "timer", "period_s": 1, "fire": "line"}}, 'is for kind = "mqtt"'),
        ({"source": FREE, "trigger": {"kind": "timer", "period_s": 1, "fire": "software"}}, "not so: the source"),
        ({"source": {**GIGE, "trigger": "Software"}}, "which nothing sends: add [trigger]"),
        (
            {"source": {**GIGE, "trigger": "Line1"}, "trigger": {"kind": "timer", "period_s": 1}},
            "the source waits for a trigger",
        ),
        ({"source": FREE, "trigger": {"kind": "timer"}}, "period_s: missing"),
        (
            {"source": FREE, "trigger": {"kind": "timer", "period_s": 1, "delay_ms": 600}},
            "must be longer than delay_ms",
        ),
        ({"source": FREE, "trigger": {"kind": "bell"}}, "camera"),
        ({"source": FREE, "trigger": {**TIMER, "shots": 2, "part_timeout_s": 1}}, "closed before its next shot"),
        ({"source": FREE, "trigger": {**ENCODER, "counts_per_mm": float("nan")}}, "finite"),
        ({"source": FREE, "trigger": {**ENCODER, "pitch_mm": float("inf")}}, "finite"),
        ({"source": FREE, "trigger": {**ENCODER, "pitch_mm": 0.5}}, "0.5 counts of the encoder"),
        (
            {"source": GIGE, "trigger": {"kind": "mqtt", "fire": "line"}, "broker": {"host": "h"}},
            "the source runs freely",
        ),
        (
            {"view": [{"name": n, "source": GIGE} for n in "ab"], "trigger": TIMER},
            "one camera cannot be two views, got 127.0.0.9, 127.0.0.9",
        ),
        ({"source": {**GIGE, "clock": "camera"}, "trigger": TIMER}, "up to a second off"),
        ({"source": {"kind": "video", "device": "0"}, "trigger": TIMER}, "use gige or gstreamer"),
        ({"source": {"kind": "replay", "path": "x"}, "trigger": TIMER}, "times of the recording"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(
    tmp_path: Path, metal_demo: Path, sections: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        config(tmp_path, metal_demo, **sections)
    assert says in str(refused.value)


def test_an_encoder_that_is_not_there_ends_the_start(tmp_path: Path, metal_demo: Path) -> None:
    encoder = {"kind": "encoder", "count_file": str(tmp_path / "count"), "counts_per_mm": 1, "pitch_mm": 1}
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        build_station(config(tmp_path, metal_demo, source=FREE, trigger=encoder))
