"""A ledger of every committed result across a thousand violent deaths of the publisher, and those of the broker."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from delivery import TOPICS, Durable, commit, publishing, wait_for

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.replay import request_replay

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
LIVES, SEED, LONGEST_S = 1000, 20261121, 0.06


@pytest.mark.timeout(280)
def test_a_thousand_kills_of_the_publisher_lose_nothing(
    tmp_path: Path, mosquitto: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    broker, path = mosquitto(), tmp_path / "outbox.sqlite"
    durable = Durable(broker.port)
    command = [sys.executable, HELPERS / "mayfly.py", path, str(broker.port), str(LIVES), str(SEED), str(LONGEST_S)]
    path_list = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=250, env={**os.environ, "PYTHONPATH": path_list}
    )
    assert done.returncode == 0, done.stderr
    lives = [[int(seq) for seq in line.split()] for line in done.stdout.splitlines()]
    told = [seq for life in lives for seq in life]
    assert len(lives) == LIVES
    assert told == sorted(set(told)), "a seq was given twice"
    assert sum(bool(life) for life in lives) > LIVES / 8, "too few lives came as far as a commit"

    before = len(durable.events)
    with Outbox(path) as outbox:
        with publishing(outbox, broker.port) as publisher:
            assert publisher.flush(60) == 0
        # Everything that the outbox holds, delivered or not: commits whose answer died with the process count too.
        outbox.reopen(range(1, max(told) + 1000))
        kept = {row.seq: row.event_id for row in outbox.pending(limit=10**6)}
        assert outbox.damaged == []
    assert set(told) <= kept.keys(), "a result that was told to be committed is not in the outbox"
    wait_for(lambda: not durable.missing(kept), 30)
    seen = durable.seen()
    durable.close()
    assert {seq: {event} for seq, event in kept.items()} == seen, "repetitions must carry the same event_id"
    assert before > 0
    with capsys.disabled():
        repeated = len(durable.events) - len(seen)
        print(f"\n{LIVES} kills: {len(kept)} results committed, 0 lost, {repeated} repeated with the same event_id")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("persistent", [True, False])
def test_kills_of_the_broker_lose_nothing(
    tmp_path: Path, mosquitto: Callable[..., Any], capsys: pytest.CaptureFixture[str], persistent: bool
) -> None:
    """With persistence a durable consumer gets everything by itself; without, it sees gaps and asks for what is missing."""
    broker = mosquitto(persistent=persistent)
    settings = BrokerSettings(host="127.0.0.1", port=broker.port)
    durable, rng, told = Durable(broker.port), random.Random(SEED), []
    stop = threading.Event()
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, CommandSettings(replay=True)) as publisher:

        def work() -> None:
            while not stop.is_set():
                told.append(commit(outbox))
                publisher.notify()
                time.sleep(0.004)

        worker = threading.Thread(target=work)
        worker.start()
        for _ in range(4):
            reached = len(durable.events) + rng.randrange(20, 200)
            wait_for(lambda reached=reached: len(durable.events) >= reached, 30)
            broker.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            broker.start()
        stop.set()
        worker.join()
        wait_for(lambda: publisher.flush(1) == 0, 30)
        asked = 0
        with suppress(AssertionError):
            wait_for(lambda: not durable.missing(told), 10 if persistent else 2)
        while not persistent and (missing := sorted(durable.missing(told))):
            reply = request_replay(settings, TOPICS, missing[0], missing[-1])
            assert (reply.accepted, reply.gone) == (True, 0)
            asked += len(missing)
            wait_for(lambda missing=missing: not durable.missing(missing), 20)
    assert durable.missing(told) == set()
    assert all(len(events) == 1 for events in durable.seen().values())
    durable.close()
    with capsys.disabled():
        repeated = len(durable.events) - len(told)
        how = f"persistence {'on' if persistent else 'off'}"
        print(f"\n4 kills of a broker, {how}: {len(told)} results, 0 lost, {asked} asked for, {repeated} repeated")


@pytest.mark.timeout(120)
def test_a_cut_network_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A station and its broker in network namespaces of their own; the cable between them is pulled without a word."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, str(HELPERS / "cut_network.py"), str(tmp_path)]
    path_list = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, env={**os.environ, "PYTHONPATH": path_list}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["lost"] == []
    assert said["noticed"].startswith("unreachable")
    with capsys.disabled():
        print(f"\ntwo cuts of the network: {said['committed']} results, 0 lost")
