"""A publisher that is born quickly and dies by SIGKILL, many times over.

Imports cost hundreds of milliseconds; a thousand lives are forked from one process that has them. Each life opens the
outbox, connects, commits results as fast as it can and is killed from outside at a random moment. What it was told to be
committed it writes to a pipe, which is read to its end after its death.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from delivery import TOPICS, commit, meta

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox

RECORD = struct.Struct("q")


def live(path: Path, port: int, told: int) -> None:
    with Outbox(path, reserve_bytes=0) as outbox:
        # A short window of repetition: lives are short, and each repeats what the one before may not have settled.
        publisher = MqttPublisher(BrokerSettings(host="127.0.0.1", port=port, replay_s=0.05), outbox, TOPICS, meta)
        publisher.start()
        while True:
            os.write(told, RECORD.pack(commit(outbox)))
            publisher.notify()


def one_life(path: Path, port: int, seconds: float) -> list[int]:
    """Fork, kill after so many seconds, and return the ``seq``s that the dead was told to be committed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            live(path, port, writable)
        finally:
            os._exit(3)
    os.close(writable)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(readable, "rb") as pipe:
        data = pipe.read()
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"a publisher ended by itself, status {status}")
    return [seq for (seq,) in RECORD.iter_unpack(data)]


def main(path: Path, port: int, lives: int, seed: int, longest_s: float) -> None:
    rng = random.Random(seed)
    for _ in range(lives):
        told = one_life(path, port, rng.uniform(0.0, longest_s))
        print(*told, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
