"""Certificates and passwords that are replaced while a station runs, against a real mosquitto."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from authority import Authority
from delivery import TOPICS, commit, publishing, wait_for
from paho.mqtt.enums import CallbackAPIVersion

from jetspect.runtime.publishing import renewal
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.renewal import Renewal
from jetspect.runtime.publishing.subscriber import MqttSubscriber


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "_LOOK_S", 0.02)


class Plant:
    """A broker that takes certificates of its CA and knows people by their CN; a plain listener shows what stations say."""

    def __init__(self, folder: Path, mosquitto: Callable[..., Any]) -> None:
        self.folder = folder
        self.authority = Authority(folder, "plant-ca")
        lines = "require_certificate true\nuse_identity_as_username true"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.broker = mosquitto(
            lines="allow_anonymous true",
            listener=f"listener {self.port} 127.0.0.1\n{self.authority.listener(*self.authority.issue('b'), lines)}",
        )
        self.statuses: list[str] = []
        ready: list[bool] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe(TOPICS.status, 1)
        self.client.on_subscribe = lambda *_: ready.append(True)
        self.client.on_message = lambda c, u, m: self.statuses.append(json.loads(m.payload)["state"])
        self.client.connect("127.0.0.1", self.broker.port)
        self.client.loop_start()
        wait_for(lambda: bool(ready))

    def give(self, name: str, **how: Any) -> dict[str, Path]:
        """Put a certificate in the station's place, as a whole."""
        for made, place in zip(self.authority.issue(name, **how), ("station.crt", "station.key"), strict=True):
            (self.folder / f"{place}.new").write_bytes(made.read_bytes())
            (self.folder / f"{place}.new").replace(self.folder / place)
        return {"ca": self.authority.ca, "cert": self.folder / "station.crt", "key": self.folder / "station.key"}

    def logins(self) -> list[str]:
        """The names that logged in, in order."""
        text = (self.folder / "broker0" / "mosquitto.log").read_text()
        return [line.split("u'")[1].split("'")[0] for line in text.splitlines() if ", u'" in line]


@pytest.fixture
def plant(tmp_path: Path, mosquitto: Callable[..., Any]) -> Iterator[Plant]:
    made = Plant(tmp_path, mosquitto)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


def seen(publisher: MqttPublisher, what: Callable[[], bool]) -> None:
    """Wait, with results that make the link look all the while."""

    def look() -> bool:
        publisher.notify()
        return what()

    wait_for(look)


def test_a_renewed_certificate_is_taken_without_a_restart_and_without_a_last_will(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    tls = plant.give("old", days=3)
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, plant.port, tls=tls) as publisher:
        wait_for(lambda: publisher.state == "online")
        (alarm,) = publisher.alarms()
        assert alarm.startswith("certificate_expires: the station's certificate expires on ")
        plant.give("new", days=300)
        for number in range(50):
            commit(outbox, number)
            publisher.notify()
        seen(publisher, lambda: publisher.counters.reconnects == 1 and publisher.state == "online")
        assert publisher.flush(10) == 0
        assert publisher.alarms() == ()
        assert plant.logins() == ["old", "new", "new"]  # it proves itself first
    wait_for(lambda: "offline" in plant.statuses)
    assert plant.statuses == ["online", "online", "offline"]
    assert "certificate_expires" in caplog.text


def test_files_that_cannot_be_used_are_told_once_and_the_connection_goes_on(
    tmp_path: Path, plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    tls = plant.give("old", days=90)
    whole = tls["cert"].read_bytes()
    cert, key = plant.authority.issue("new", days=90)
    expired, _ = plant.authority.issue("expired", days=-0.5)
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, plant.port, tls=tls) as publisher:
        wait_for(lambda: publisher.state == "online")
        for bad, problem in (
            (cert.read_bytes(), "KEY_VALUES_MISMATCH"),
            (whole[:200], "station.crt cannot be used"),
            (b"", "station.crt cannot be used"),
        ):
            tls["cert"].write_bytes(bad)
            seen(publisher, lambda problem=problem: problem in "".join(publisher.alarms()))
            commit(outbox)
            assert publisher.flush(10) == 0
        tls["cert"].write_bytes(expired.read_bytes())
        tls["key"].write_bytes((tmp_path / "expired.key").read_bytes())
        seen(publisher, lambda: "has expired on" in "".join(publisher.alarms()))
        assert (publisher.state, publisher.counters.reconnects) == ("online", 0)
        assert caplog.text.count("KEY_VALUES_MISMATCH") == 1

        tls["cert"].write_bytes(cert.read_bytes())
        tls["key"].write_bytes(key.read_bytes())
        seen(publisher, lambda: publisher.counters.reconnects == 1)
        seen(publisher, lambda: publisher.alarms() == ())
    assert set(plant.logins()) == {"old", "new"}


def test_a_certificate_that_the_broker_refuses_does_not_cost_the_connection(tmp_path: Path, plant: Plant) -> None:
    tls = plant.give("good", days=90)
    good = [tls["cert"].read_bytes(), tls["key"].read_bytes()]
    stranger = Authority(tmp_path, "other-ca").issue("stranger", days=90)
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, plant.port, tls=tls) as publisher:
        wait_for(lambda: publisher.state == "online")
        tls["cert"].write_bytes(stranger[0].read_bytes())
        tls["key"].write_bytes(stranger[1].read_bytes())
        seen(publisher, lambda: "does not take the new certificate or password" in "".join(publisher.alarms()))
        commit(outbox)
        assert publisher.flush(10) == 0
        assert publisher.counters.reconnects == 0

        plant.broker.kill()  # the old one still counts when the connection breaks
        plant.broker.start()
        seen(publisher, lambda: publisher.counters.reconnects == 1)

        tls["cert"].write_bytes(good[0])
        tls["key"].write_bytes(good[1])
        seen(publisher, lambda: publisher.alarms() == ())


def test_a_station_that_is_stopped_while_it_renews_still_says_goodbye(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = plant.give("old", days=90)
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, plant.port, tls=tls) as publisher:
        wait_for(lambda: publisher.state == "online")
        hang_up = publisher._hang_up

        def stop_after(client: paho.Client) -> None:
            hang_up(client)
            publisher._stopping.set()

        monkeypatch.setattr(publisher, "_hang_up", stop_after)
        plant.give("new", days=90)
        publisher.notify()
        publisher._thread.join(20)
        assert publisher.state == "stopped"
    wait_for(lambda: plant.statuses == ["online", "online", "offline"])


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "password")
    writer = threading.Thread(target=(tmp_path / "password").write_text, args=("secret\n",))
    writer.start()
    kept = Renewal(BrokerSettings(username="me", password_file=tmp_path / "password"))
    writer.join(10)
    assert kept.proven.password is not None
    assert kept.proven.password.get_secret_value() == "secret"
    assert kept.next() is kept.proven


def test_a_password_file_is_read_again(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    known, file = tmp_path / "known", tmp_path / "password"
    passwd = shutil.which("mosquitto_passwd")
    assert passwd is not None

    def knows(password: str) -> None:
        subprocess.run([passwd, "-b", "-c", str(known), "me", password], check=True, capture_output=True)

    knows("first")
    file.write_text("first\n")
    broker = mosquitto(lines=f"allow_anonymous false\npassword_file {known}")
    login = {"username": "me", "password_file": file}
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, **login) as publisher:
        wait_for(lambda: publisher.state == "online")
        settings = BrokerSettings.model_validate({"host": "127.0.0.1", "port": broker.port, **login})
        with MqttSubscriber(settings, TOPICS.result, client_id="mes") as subscriber:
            knows("second")
            file.write_text("second\n")
            os.kill(broker._process.pid, signal.SIGHUP)  # mosquitto then also drops who has the old one
            seen(publisher, lambda: publisher.counters.reconnects > 0 and publisher.state == "online")
            commit(outbox)
            assert publisher.flush(10) == 0
            assert next(iter(subscriber.messages(quiet_s=10)))[0] == TOPICS.result


def test_touched_files_are_no_new_ones(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    kept = Renewal(BrokerSettings(username="me", password_file=tmp_path / "password"))
    os.utime(tmp_path / "password", (1, 1))
    first = kept.next()
    assert first is kept.proven is kept.newest
    (tmp_path / "password").write_text("y")
    assert kept.next() is kept.newest is not first
    assert kept.next() is first  # in turn, until the broker takes one of them
    kept.worked(kept.newest)
    assert kept.next() is kept.next() is kept.newest


def test_an_expired_certificate_warns_and_does_not_keep_a_station_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = Authority(tmp_path, "ca").issue("late", days=-0.5, password="k")
    monkeypatch.setenv("RENEWAL_KEY", "k")
    settings = BrokerSettings.model_validate({"tls": {"cert": cert, "key": key, "key_password_env": "RENEWAL_KEY"}})
    assert Renewal(settings).alarms()[0].startswith("certificate_expired: the station's certificate expired on ")
    assert "can be read by everybody (mode 0644)" in caplog.text
    key.chmod(0o600)
    caplog.clear()
    Renewal(settings)
    assert "can be read" not in caplog.text
