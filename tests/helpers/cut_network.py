"""A station in this network namespace, its broker and a consumer in another, and a cable between them that is pulled.

Run it in a network namespace of its own: unshare --map-root-user --net python cut_network.py FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from delivery import TOPICS, commit, meta, wait_for

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox

STATION, BROKER, PORT = "10.77.0.1", "10.77.0.2", "1883"


class Plant:
    """The far end: a namespace that lives as long as its first process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        self._all = [self._first]
        own, other = Path("/proc/self/ns/net"), Path(f"/proc/{self._first.pid}/ns/net")
        wait_for(lambda: other.readlink() != own.readlink())
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(self._first.pid))
        run("ip", "addr", "add", f"{STATION}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        for words in (["link", "set", "lo", "up"], ["addr", "add", f"{BROKER}/24", "dev", "far"]):
            run(*self._inside("ip", *words))
        self.cable("up")

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self._first.pid), "--net", *command]

    def cable(self, state: str) -> None:
        """Down: packets vanish, and nobody closes a connection."""
        run(*self._inside("ip", "link", "set", "far", state))

    def broker(self) -> None:
        binary = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        assert binary is not None, "mosquitto is not installed; run: make system-test"
        config = self._folder / "mosquitto.conf"
        config.write_text(f"listener {PORT} 0.0.0.0\nallow_anonymous true\nuser root\nmax_queued_messages 0\n")
        self._all.append(subprocess.Popen(self._inside(binary, "-c", str(config))))

    def consumer(self) -> Path:
        """Start ``jetspect subscribe`` beside the broker; return the file that it writes results to."""
        lines = self._folder / "received.jsonl"
        command = [sys.executable, "-m", "jetspect", "subscribe", "--host", BROKER, "--client-id", "mes", "--jsonl"]
        command += ["--state", str(self._folder / "state.json")]
        with lines.open("w") as out:
            self._all.append(subprocess.Popen(self._inside(*command), stdout=out))
        return lines

    def close(self) -> None:
        for process in reversed(self._all):
            process.kill()
            process.wait()


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def main(folder: Path) -> None:
    plant, told, stop = Plant(folder), [], threading.Event()
    try:
        plant.broker()
        received = plant.consumer()
        settings = BrokerSettings(host=BROKER, keepalive_s=5)
        with Outbox(folder / "outbox.sqlite") as outbox:
            publisher = MqttPublisher(settings, outbox, TOPICS, meta)
            publisher.start()

            def work() -> None:
                while not stop.is_set():
                    told.append(commit(outbox))
                    publisher.notify()
                    time.sleep(0.01)

            worker = threading.Thread(target=work)
            worker.start()
            wait_for(lambda: len(seqs(received)) > 50, 30)
            since = min(seqs(received))  # what came before the consumer had subscribed was not for it
            plant.cable("down")  # short: TCP sends again by itself
            time.sleep(1.5)
            plant.cable("up")
            reached = told[-1]
            wait_for(lambda: reached in seqs(received), 30)
            plant.cable("down")  # long: the connection is given up
            wait_for(lambda: publisher.state.startswith("unreachable"), 30)
            noticed = publisher.state
            plant.cable("up")
            wait_for(lambda: publisher.state == "online", 60)
            stop.set()
            worker.join()
            left = publisher.flush(30)
            promised = {seq for seq in told if seq >= since}
            wait_for(lambda: promised <= seqs(received), 20)
            publisher.close()
        lost = sorted(promised - seqs(received))
        print(json.dumps({"committed": len(told), "lost": lost, "left": left, "noticed": noticed}))
    finally:
        stop.set()
        plant.close()


def seqs(lines: Path) -> set[int]:
    whole = lines.read_text().rpartition("\n")[0]
    return {json.loads(line)["seq"] for line in whole.splitlines()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
