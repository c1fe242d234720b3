"""Nothing is lost between the outbox and a durable subscriber, with a real mosquitto."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from delivery import TOPICS, Durable, commit, meta, publishing, wait_for

from jetspect.errors import InputError, PublishError
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.subscriber import MqttSubscriber

COUNT = 1002  # two of them are probes on another topic
LOAD = f"import sys, runpy, time; sys.path.append({str(Path(__file__).resolve().parents[2] / 'helpers')!r}); "


def produce(outbox_path: str, port: str) -> None:
    """The body of the publisher process: fill the outbox up to COUNT results, then deliver them."""
    with Outbox(Path(outbox_path)) as outbox:
        publisher = MqttPublisher(BrokerSettings(host="127.0.0.1", port=int(port)), outbox, TOPICS, meta)
        publisher.start()
        done = outbox.commit(TOPICS.leaf("probe"), lambda seq, event: b"{}")[0] - 1
        while done < COUNT:
            commit(outbox, done)
            publisher.notify()
            done += 1
            time.sleep(0.003)
        publisher.flush(60)
        publisher.close()


@pytest.mark.timeout(180)
def test_a_thousand_results_survive_a_killed_broker_and_a_killed_publisher(
    tmp_path: Path, mosquitto: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    broker = mosquitto()
    durable = Durable(broker.port)
    outbox = tmp_path / "outbox.sqlite"
    code = f"{LOAD}runpy.run_path({__file__!r})['produce']({str(outbox)!r}, '{broker.port}')"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code])

    first = start()
    wait_for(lambda: len(durable.seen()) >= 200, 60)
    broker.kill()
    time.sleep(0.5)
    first.kill()  # in mid-outage, with results in the outbox and on their way
    first.wait()
    second = start()
    time.sleep(1.0)
    broker.start()
    assert second.wait(timeout=100) == 0

    probes = 2  # each publisher process queued one message on another topic first
    wait_for(lambda: len(durable.seen()) >= COUNT - probes, 30)
    time.sleep(0.5)
    seen = durable.seen()
    durable.close()
    with Outbox(outbox) as left:
        assert left.depth() == 0
    missing = set(range(1, max(seen) + 1)) - set(seen)
    assert len(missing) <= probes, f"lost: {sorted(missing)}"
    assert all(len(events) == 1 for events in seen.values()), "one seq with two event ids"
    with capsys.disabled():
        print(f"\n{len(seen)} results, 0 lost, {len(durable.events) - len(seen)} repeated with the same event_id")


def test_a_result_larger_than_the_broker_takes_raises_an_alarm_and_holds_up_no_other(
    tmp_path: Path, mosquitto: Callable[..., Any]
) -> None:
    small = mosquitto("allow_anonymous true\nmax_packet_size 8000")
    with Outbox(tmp_path / "o") as outbox:
        for size in (9000, 10, 9500):
            outbox.commit(TOPICS.result, lambda seq, event, size=size: b"x" * size)
        with publishing(outbox, small.port) as publisher:
            wait_for(lambda: outbox.depth() == 2 and len(publisher.alarms()) == 1 and "more" in publisher.alarms()[0])
            assert publisher.alarms()[0].startswith(
                "result_too_large: result 3 and 1 more of 9500 bytes is larger than"
            )
        with publishing(outbox, mosquitto().port) as publisher:
            assert publisher.flush(10) == 0
            assert publisher.alarms() == ()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_birth_results_and_goodbye_come_in_order_and_stay(
    tmp_path: Path, mosquitto: Callable[..., Any], protocol: str
) -> None:
    broker = mosquitto()
    settings = BrokerSettings(host="127.0.0.1", port=broker.port, protocol=protocol)
    with Outbox(tmp_path / "o.sqlite") as outbox:
        with (
            MqttSubscriber(settings, "jetspect/#") as subscriber,
            publishing(outbox, broker.port, protocol=protocol) as p,
        ):
            commit(outbox)
            p.notify()
            assert p.flush(10) == 0
            bodies = {t.rsplit("/", 1)[1]: json.loads(b) for t, b in subscriber.messages(quiet_s=0.6)}
            assert bodies["status"]["state"] == "online"
            for leaf in ("status", "meta", "result"):
                jsonschema.validate(bodies[leaf], json_schema(leaf))
        with MqttSubscriber(settings, "jetspect/#") as late:
            kept = {t.rsplit("/", 1)[1]: json.loads(b) for t, b in late.messages(quiet_s=0.6)}
    assert set(kept) == {"status", "meta"}
    assert (kept["status"]["state"], kept["status"]["reason"]) == ("offline", "stopped")


def test_the_last_will_says_offline_when_the_process_is_killed(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    code = (
        f"{LOAD}m = runpy.run_path({__file__!r}); o = m['Outbox'](m['Path']({str(tmp_path / 'o')!r}));"
        f"p = m['MqttPublisher'](m['BrokerSettings'](host='127.0.0.1', port={broker.port}), o, m['TOPICS'], m['meta']);"
        "p.start(); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    with MqttSubscriber(BrokerSettings(host="127.0.0.1", port=broker.port), TOPICS.status) as subscriber:
        states = (json.loads(body)["state"] for _, body in subscriber.messages(quiet_s=20))
        assert next(states) == "online"
        child.kill()
        child.wait()
        assert next(states) == "offline"


def test_a_refused_login_is_told_once_and_results_wait(
    tmp_path: Path, mosquitto: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "passwords").write_text("")
    broker = mosquitto(f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}")
    monkeypatch.setenv("STATION_PASSWORD", "hunter2")
    caplog.set_level(logging.INFO)
    with Outbox(tmp_path / "o.sqlite") as outbox:
        with publishing(outbox, broker.port, username="unit", password_env="STATION_PASSWORD") as publisher:
            commit(outbox)
            wait_for(lambda: "refused" in publisher.state)
            time.sleep(2.0)
        assert outbox.depth() == 1
    told = [r.message for r in caplog.records if "refused" in r.message]
    assert len(told) == 1
    assert "hunter2" not in caplog.text


def test_a_broker_that_is_not_there_is_waited_for(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    broker.kill()
    with Outbox(tmp_path / "o.sqlite") as outbox, publishing(outbox, broker.port) as publisher:
        commit(outbox)
        wait_for(lambda: "unreachable" in publisher.state)
        broker.start()
        assert publisher.flush(20) == 0


def test_a_secret_that_is_not_there_is_named(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o.sqlite") as outbox, pytest.raises(PublishError, match="NOWHERE"):
        MqttPublisher(BrokerSettings(username="u", password_env="NOWHERE"), outbox, TOPICS, meta)


def test_a_subscriber_comes_back_after_a_broker_restart(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    settings = BrokerSettings(host="127.0.0.1", port=broker.port)
    with MqttSubscriber(settings, TOPICS.result) as subscriber, Outbox(tmp_path / "o") as outbox:
        broker.kill()
        time.sleep(0.3)
        broker.start()
        with publishing(outbox, broker.port) as publisher:
            time.sleep(3.0)  # the subscriber's own pace
            commit(outbox)
            publisher.notify()
            assert publisher.flush(10) == 0
            assert len(list(subscriber.messages(quiet_s=2.0))) == 1


@pytest.mark.parametrize("wrong", ["a/#/b", "a+/b", "", "#/a"])
def test_a_wrong_topic_filter_is_refused_before_connecting(wrong: str) -> None:
    with pytest.raises(InputError, match="is no topic filter"):
        MqttSubscriber(BrokerSettings(), wrong)
