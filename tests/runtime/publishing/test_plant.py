"""docs/security.md and examples/mosquitto as they stand there: openssl makes the certificates, a real mosquitto takes them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from commands import REPOSITORY, jetspect
from delivery import meta, wait_for

from jetspect.runtime.publishing.broker import BrokerSettings, make_client
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.contract import CHANNELS
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics

HERE = Topics("jetspect", "plant-1", "press-shop", "line-2", "island-3")
ELSEWHERE = Topics("jetspect", "plant-1", "press-shop", "line-9", "island-3")
LEAVES = {channel.leaf for channel in CHANNELS}
SENT = {channel.leaf for channel in CHANNELS if channel.action == "send"}
EVENTS = {"result", "status", "meta", "health", "shadow", "commissioning"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of docs/security.md make, the pin that they print, and somebody who may do everything."""
    folder = tmp_path_factory.mktemp("ca")
    text = (REPOSITORY / "docs" / "security.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = "".join(block for block in blocks if block.startswith("openssl"))
    watcher = "\n".join(line.replace("operator", "watcher") for line in lines.splitlines() if "operator" in line)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines + watcher], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (folder / "pin").write_text(done.stdout)
    return folder


class Plant:
    """The example's mosquitto, and logins to it."""

    def __init__(self, certificates: Path, folder: Path, mosquitto: Callable[..., Any]) -> None:
        self.certificates = certificates
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        example = REPOSITORY / "examples" / "mosquitto"
        (folder / "acl").write_text((example / "acl").read_text() + "\nuser watcher\ntopic readwrite #\n")
        text = (example / "mosquitto.conf").read_text()
        for here, there in (
            ("/etc/mosquitto/certs", str(certificates)),
            ("/etc/mosquitto/acl", str(folder / "acl")),
            ("listener 8883", f"listener {self.port} 127.0.0.1"),
            ("persistence_location /var/lib/mosquitto/\n", ""),  # the fixture has its own
        ):
            assert here in text
            text = text.replace(here, there)
        broker = mosquitto(lines=text)
        broker.kill()
        file = folder / "broker0" / "mosquitto.conf"
        config = file.read_text()
        assert config.count("max_queued_messages") == 2  # the example's number counts, not the fixture's
        file.write_text(config.replace("max_queued_messages 0\n", ""))
        broker.start()

    def settings(self, who: str, protocol: str = "5", **tls: Any) -> BrokerSettings:
        ours = self.certificates
        own = {"ca": ours / "ca.crt", "cert": ours / f"{who}.crt", "key": ours / f"{who}.key", **tls}
        return BrokerSettings.model_validate({"host": "localhost", "port": self.port, "protocol": protocol, "tls": own})


@pytest.fixture
def plant(certificates: Path, tmp_path: Path, mosquitto: Callable[..., Any]) -> Plant:
    return Plant(certificates, tmp_path, mosquitto)


class Person:
    """Somebody with a certificate who subscribes to everything and tries to write everywhere."""

    def __init__(self, plant: Plant, who: str, protocol: str) -> None:
        self.who = who
        self.heard: set[tuple[str, str]] = set()
        self._refused: set[int] = set()
        self._sent: dict[int, str] = {}
        self._answered: set[int] = set()
        ready: list[bool] = []
        self._client = make_client(plant.settings(who, protocol), f"test-{who}")
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: ready.append(True)
        self._client.on_message = lambda c, u, m: self.heard.add((m.topic, m.payload.decode()))
        self._client.on_publish = self._answer
        self._client.connect("localhost", plant.port)
        self._client.loop_start()
        wait_for(lambda: bool(ready))

    def _answer(self, client: paho.Client, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        self._answered.add(mid)
        if code.is_failure:
            self._refused.add(mid)

    def write(self, topics: list[str], text: str = "") -> None:
        for topic in topics:
            self._sent[self._client.publish(topic, text or self.who, qos=1).mid] = topic
        wait_for(lambda: self._answered >= self._sent.keys())

    def refused_topics(self) -> set[str]:
        return {self._sent[mid] for mid in self._refused}

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


REPLIES = {leaf for leaf in LEAVES if leaf.endswith("/reply")}
MAY_WRITE = {
    "island-3": {HERE.leaf(leaf) for leaf in SENT | REPLIES},
    "historian": {place.receipt for place in (HERE, ELSEWHERE)},
    "operator": {place.replay for place in (HERE, ELSEWHERE)},
    "line-2": {HERE.trigger},
}
MAY_READ = {
    "island-3": {HERE.leaf(leaf) for leaf in LEAVES - SENT - REPLIES},
    "historian": {place.leaf(leaf) for leaf in EVENTS for place in (HERE, ELSEWHERE)},
    "operator": {place.leaf(leaf) for leaf in EVENTS | {"cmd/replay/reply"} for place in (HERE, ELSEWHERE)},
    "line-2": {HERE.leaf(leaf) for leaf in ("result", "status", "cmd/trigger/reply")},
}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_everybody_may_do_what_the_access_list_says_and_nothing_else(plant: Plant, protocol: str) -> None:
    everywhere = sorted(place.leaf(leaf) for leaf in LEAVES for place in (HERE, ELSEWHERE))
    watcher = Person(plant, "watcher", protocol)
    people = [Person(plant, who, protocol) for who in MAY_WRITE]
    for person in people:
        allowed = MAY_WRITE[person.who]
        person.write([*everywhere, "elsewhere", sorted(allowed)[0]])
        person.write([sorted(allowed)[0]], "end of " + person.who)
        wait_for(lambda end="end of " + person.who: end in {text for _, text in watcher.heard})
        assert {topic for topic, text in watcher.heard if text == person.who} == allowed
        # In 3.1.1 a broker has no word for no: it acknowledges what it throws away.
        assert person.refused_topics() == ({*everywhere, "elsewhere"} - allowed if protocol == "5" else set())
    watcher.write([*everywhere, "elsewhere"])
    watcher.write(sorted(set().union(*MAY_READ.values())), "end")
    for person in people:
        allowed = MAY_READ[person.who]
        wait_for(lambda person=person, allowed=allowed: {(t, "end") for t in allowed} <= person.heard)
        assert {topic for topic, text in person.heard if text == "watcher"} == allowed
    for person in (watcher, *people):
        person.close()


def test_a_station_delivers_and_only_an_operator_makes_it_send_again(plant: Plant, tmp_path: Path) -> None:
    pin = (plant.certificates / "pin").read_text().strip()
    with Outbox(tmp_path / "o") as outbox:
        settings = plant.settings("island-3", pin_sha256=[pin])
        station = MqttPublisher(settings, outbox, HERE, meta, CommandSettings(replay=True))
        station.start()
        outbox.commit(HERE.result, lambda seq, event: b"{}")
        assert station.flush(10) == 0

        def replay(who: str, *words: object) -> Any:
            ours = plant.certificates
            place = "jetspect/plant-1/press-shop/line-2/island-3"
            file = tmp_path / f"{who}.toml"
            file.write_text(
                f'[broker]\nhost = "localhost"\nport = {plant.port}\n'
                f'[broker.tls]\nca = "{ours}/ca.crt"\ncert = "{ours}/{who}.crt"\nkey = "{ours}/{who}.key"\n'
            )
            return jetspect("replay", place, "--from", 1, "--broker", file, "--json", *words)

        done = replay("operator", "--pin-sha256", pin)
        assert (done.returncode, json.loads(done.stdout)["queued"]) == (0, 1), done
        done = replay("historian", "--timeout-s", 1)
        assert done.returncode == 2
        assert "no station answers" in done.stdout
        done = replay("operator", "--pin-sha256", "A" * 43 + "=")
        assert "its public key is not one of broker.tls.pin_sha256" in json.loads(done.stdout)["error"]["message"]
        done = replay("operator", "--cert", tmp_path / "none.crt")
        assert "none.crt cannot be used" in json.loads(done.stdout)["error"]["message"]
        place = "jetspect/plant-1/press-shop/line-2/island-3"
        ca = plant.certificates / "ca.crt"
        done = jetspect("replay", place, "--from", 1, "--port", plant.port, "--ca", ca, "--json")
        assert "closed the connection before the login" in json.loads(done.stdout)["error"]["message"]
        station.close()


def test_a_station_of_another_place_says_that_it_is_refused(plant: Plant, tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        station = MqttPublisher(plant.settings("island-3"), outbox, ELSEWHERE, meta)
        station.start()
        outbox.commit(ELSEWHERE.result, lambda seq, event: b"{}")
        station.notify()
        wait_for(lambda: station.state.startswith("refused"))
        assert "refuses results on jetspect/v1/plant-1/press-shop/line-9/island-3/result" in station.state
        assert outbox.depth() == 1
        station.close()
