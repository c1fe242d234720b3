"""The bridge between a real station and a host that reads with another project's Sparkplug library."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from commands import jetspect
from consumers import broker_at, result, send
from delivery import ADDRESS, TOPICS, commit, publishing, wait_for
from paho.mqtt.enums import CallbackAPIVersion
from sparkplub_b_packets.core.sparkplug_b_pb2 import Payload

from jetspect.errors import InputError
from jetspect.runtime.consuming.sparkplug import SparkplugBridge
from jetspect.runtime.consuming.sparkplug_payload import Metric, asks_for_rebirth, encode
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.messages import StatusMessage
from jetspect.runtime.publishing.outbox import Outbox

FIELDS = {8: "long_value", 10: "double_value", 11: "boolean_value", 12: "string_value", 13: "long_value"}


@dataclass
class Seen:
    kind: str
    device: str
    payload: Any
    qos: int
    retain: bool

    def values(self) -> dict[str, Any]:
        return {m.name: None if m.is_null else getattr(m, FIELDS[m.datatype]) for m in self.payload.metrics}


class Host:
    """What a SCADA system does: subscribes to everything, decodes, sends commands."""

    def __init__(self, port: int) -> None:
        self.seen: list[Seen] = []
        self._ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/plant/#", qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._ready.wait(10)

    def _take(self, client: paho.Client, userdata: Any, m: paho.MQTTMessage) -> None:
        _, _, kind, _, *device = m.topic.split("/")
        if kind != "NCMD":
            self.seen.append(Seen(kind, "".join(device), Payload.FromString(m.payload), m.qos, m.retain))

    def all(self, kind: str) -> list[Seen]:
        return [one for one in self.seen if one.kind == kind]

    def wait(self, kind: str, count: int = 1) -> Seen:
        wait_for(lambda: len(self.all(kind)) >= count)
        return self.all(kind)[count - 1]

    def command(self, payload: bytes, retain: bool = False) -> None:
        self.client.publish("spBv1.0/plant/NCMD/cell", payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(mosquitto: Callable[..., Any]) -> Any:
    return mosquitto()


@pytest.fixture
def host(broker: Any) -> Iterator[Host]:
    made = Host(broker.port)
    yield made
    made.close()


@pytest.fixture
def bridge(broker: Any, host: Host) -> Iterator[SparkplugBridge]:
    made = SparkplugBridge(broker_at(broker.port), "plant", "cell")
    made.start()
    yield made
    made.close()


def rebirth() -> bytes:
    payload = Payload(timestamp=1)
    payload.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    return bytes(payload.SerializeToString())


def health(**fields: Any) -> bytes:
    counters = dict.fromkeys(("frames", "inspected", "ok", "nok", "unknown", "evidence_failed"), 1)
    counters |= dict.fromkeys(("outbox_pending", "published", "acknowledged", "reconnects"), 2)
    body = {"station": ADDRESS, "at": utc_now(), "uptime_s": 1.5, "dropped": {}, "outbox_oldest_s": 0.0, **counters}
    return HealthMessage.model_validate({**body, **fields}).payload()


def test_a_station_is_born_reports_and_dies(tmp_path: Path, broker: Any, host: Host, bridge: SparkplugBridge) -> None:
    birth = host.wait("NBIRTH")
    assert birth.values() == {"bdSeq": 0, "Node Control/Rebirth": False}
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port) as publisher:
        device = host.wait("DBIRTH")
        assert device.device == "s:a:l:u"
        assert device.values()["Results/NOK"] == 0
        assert device.values()["Last/Verdict"] is None
        for _ in range(2):
            commit(outbox)
        publisher.notify()
        first, second = host.wait("DDATA").values(), host.wait("DDATA", 2).values()
        assert (first["Results/NOK"], first["Last/Verdict"], first["Last/Seq"], first["Last/Defects"]) == (
            1,
            "NOK",
            1,
            1,
        )
        assert second["Results/NOK"] == 2
        assert "Last/Verdict" not in second, "only what changed is reported"
        send(broker.port, [health(outbox_pending=7, alarms=["disk_full: x"])], TOPICS.health)
        third = host.wait("DDATA", 3).values()
        assert (third["Health/Outbox pending"], third["Health/Alarms"]) == (7, "disk_full: x")
        assert third["Health/Source connected"] is True
    assert host.wait("DDEATH").device == "s:a:l:u"
    assert [one.payload.seq for one in host.seen] == list(range(len(host.seen)))
    assert {(one.qos, one.retain) for one in host.seen} == {(0, False)}


def test_stations_whose_levels_hold_a_colon_stay_two_devices(broker: Any, host: Host, bridge: SparkplugBridge) -> None:
    host.wait("NBIRTH")
    online = StatusMessage(state="online", at=utc_now(), jetspect="0").payload()
    for site, area in (("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c")):
        send(broker.port, [online], f"jetspect/v1/{site}/{area}/l/u/status")
    born = {host.wait("DBIRTH", number).device for number in (1, 2, 3)}
    assert born == {"a%3Ab:c:l:u", "a:b%3Ac:l:u", "a%253Ab:c:l:u"}


def test_a_rebirth_is_the_whole_state_again(tmp_path: Path, broker: Any, host: Host, bridge: SparkplugBridge) -> None:
    host.wait("NBIRTH")
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port) as publisher:
        host.wait("DBIRTH")
        commit(outbox)
        publisher.notify()
        host.wait("DDATA")
        host.command(b"\xff\xff\xff")
        host.command(b"")
        host.command(rebirth())
        again = host.wait("NBIRTH", 2)
        assert (again.payload.seq, again.values()["bdSeq"]) == (0, 0)
        device = host.wait("DBIRTH", 2)
        assert (device.payload.seq, device.values()["Last/Seq"]) == (1, 1)
        assert len(host.all("NBIRTH")) == 2


def test_a_retained_command_is_never_carried_out(broker: Any, host: Host) -> None:
    host.command(rebirth(), retain=True)
    bridge = SparkplugBridge(broker_at(broker.port), "plant", "cell")
    bridge.start()
    host.wait("NBIRTH")
    host.command(rebirth())
    host.wait("NBIRTH", 2)
    bridge.close()
    host.wait("NDEATH")
    assert len(host.all("NBIRTH")) == 2


def test_a_new_connection_has_a_number_of_its_own(broker: Any, bridge: SparkplugBridge) -> None:
    wait_for(lambda: bridge.births == 1)
    broker.kill()
    broker.start()
    wait_for(lambda: bridge.births == 2)
    host = Host(broker.port)
    host.command(rebirth())
    born = host.wait("NBIRTH").values()["bdSeq"]
    bridge.close()
    assert host.wait("NDEATH").values()["bdSeq"] == born
    host.close()
    assert born > 0


def test_nonsense_of_stations_stops_nothing(broker: Any, host: Host, bridge: SparkplugBridge) -> None:
    host.wait("NBIRTH")
    for topic in (TOPICS.status, TOPICS.result, TOPICS.health):
        send(broker.port, [b"", b"\xff", b"[]"], topic)
    send(broker.port, [b'{"state": "online", "jetspect": "9"}'], TOPICS.status)
    host.wait("DBIRTH")
    send(broker.port, [health(frames=10**30, outbox_pending=-3, uptime_s=1e300)], TOPICS.health)
    values = host.wait("DDATA").values()
    assert (values["Health/Frames"], values["Health/Outbox pending"]) == (2**64 - 1, 0)
    for _ in range(2):
        send(broker.port, [result(2**63 - 1, "x")])
    assert host.wait("DDATA", 2).values()["Last/Seq"] == 2**63 - 1
    send(broker.port, [b'{"state": "offline", "jetspect": "9"}'], TOPICS.status)
    host.wait("DDEATH")
    assert len(host.all("DDATA")) == 2, "a repetition counts once"


def test_a_killed_bridge_leaves_a_death_of_the_birth_that_it_ends(broker: Any, host: Host) -> None:
    command = [sys.executable, "-m", "jetspect", "sparkplug", "--group", "plant", "--node", "cell"]
    command += ["--host", "127.0.0.1", "--port", str(broker.port)]
    with subprocess.Popen(command) as child:
        birth = host.wait("NBIRTH")
        child.kill()
    death = host.wait("NDEATH")
    assert death.values() == {"bdSeq": birth.values()["bdSeq"]}
    assert not death.payload.HasField("seq")


def test_a_bridge_that_ends_says_so(broker: Any, host: Host) -> None:
    bridge = SparkplugBridge(broker_at(broker.port, protocol="3.1.1"), "plant", "cell")
    bridge.start()
    host.wait("NBIRTH")
    bridge.close()
    death = host.wait("NDEATH")
    assert (death.qos, death.retain, death.values()) == (1, False, {"bdSeq": 0})


@pytest.mark.parametrize(
    "metric",
    [
        Metric("a", "uint64", 2**64 - 1),
        Metric("a", "double", -0.5),
        Metric("a", "bool", True),
        Metric("ä/b", "text", "ß"),
        Metric("a", "time", 1_790_000_000_000),
        Metric("a", "text", None),
    ],
)
def test_another_library_reads_what_is_written(metric: Metric) -> None:
    payload = Payload.FromString(encode([metric], 5, 255))
    assert (payload.timestamp, payload.seq, payload.metrics[0].name) == (5, 255, metric.name)
    assert Seen("", "", payload, 0, False).values() == {metric.name: metric.value}


def test_what_another_library_writes_is_read() -> None:
    assert asks_for_rebirth(rebirth())
    assert not asks_for_rebirth(b"")
    assert not asks_for_rebirth(encode([Metric("Node Control/Rebirth", "bool", False)], 1, None))
    with pytest.raises(InputError, match="no payload of Sparkplug B"):
        asks_for_rebirth(json.dumps({}).encode())


@pytest.mark.parametrize("words", [("--group", "a/b", "--node", "n"), ("--group", "g", "--node", "")])
def test_names_that_no_topic_carries_are_refused(words: tuple[str, ...]) -> None:
    done = jetspect("sparkplug", *words)
    assert done.returncode == 2
    assert "a topic level" in done.stderr
