"""What is given up when space runs out: pictures, then delivered results, never an unsent one."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from jetspect.errors import PublishError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.evidence import EvidenceSettings, EvidenceStore
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.results import Inspection, ModelIdentity, Verdict

MB = 1024 * 1024


def picture(store: EvidenceStore, number: int) -> None:
    now = utc_now()
    model = ModelIdentity("m", "1", "0" * 64, "fp32", "e")
    inspection = Inspection(f"f{number}", now, now, Verdict.NOK, (), (), (600, 400), model)
    store.store(np.random.default_rng(number).integers(0, 255, (400, 600, 3), dtype=np.uint8), inspection)


def size(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.iterdir()) / MB


def test_pictures_go_first_then_delivered_results_then_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "evidence"
    store = EvidenceStore(EvidenceSettings(folder=folder, max_mb=4, overlay_px=600))
    with Outbox(tmp_path / "o") as outbox, caplog.at_level(logging.WARNING):
        keeper = Keeper(outbox, store, keep_hours=1, max_mb=2)

        def put(megabytes: float) -> list[int]:
            return [outbox.commit("t", lambda s, e: bytes(MB // 8))[0] for _ in range(int(8 * megabytes))]

        for number in range(30):
            picture(store, number)
        full = size(folder)
        assert 3 < full <= 4

        delivered = put(2.5)
        outbox.ack(delivered)
        keeper.tidy()  # 0.5 MB and some pages above the cap
        assert 2.5 < size(folder) < 3.5
        assert outbox.used_bytes() > 2.5 * MB, "delivered results went before the pictures"
        keeper.tidy()
        again = size(folder)
        picture(store, 99)
        assert size(folder) <= again + 0.01, "the room that was given up is not taken back"

        waiting = put(3)
        keeper.tidy()
        assert size(folder) < 0.6
        assert outbox.used_bytes() > 5 * MB
        assert keeper.alarms() == ()

        waiting += put(2)
        keeper.tidy()
        assert size(folder) == 0
        assert 5 * MB < outbox.used_bytes() <= 6 * MB
        assert keeper.alarms() == ()

        waiting += put(2)
        keeper.tidy()
        assert [row.seq for row in outbox.pending(limit=1000)] == waiting, "an unsent result is gone"
        assert [alarm.partition(":")[0] for alarm in keeper.alarms()] == ["outbox_over_cap"]
        keeper.tidy()
        assert sum("no broker has acknowledged" in r.message for r in caplog.records) == 1
        with pytest.raises(PublishError, match="went to results that wait"):
            picture(store, 100)

        outbox.ack(waiting)
        keeper.tidy()
        outbox.forget(0)
        keeper.tidy()
        assert keeper.alarms() == ()
        picture(store, 101)
        assert size(folder) > 0


FULL_DISK = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, {here!r})
import test_keeping as t
from jetspect.errors import PublishError
disk = Path({disk!r})
store = t.EvidenceStore(t.EvidenceSettings(folder=disk / "evidence", max_mb=100, overlay_px=600))
with t.Outbox(disk / "o", reserve_bytes=6 * t.MB) as outbox:
    keeper = t.Keeper(outbox, store, keep_hours=1, max_mb=1000)

    def fill():
        count = 0
        try:
            while True:
                outbox.commit("t", lambda s, e: bytes(20_000))
                count += 1
        except PublishError as error:
            assert "cannot grow" in str(error), error
        return count

    for number in range(20):
        t.picture(store, number)
    print("first", fill())
    assert keeper.alarms()[0].startswith("disk_full"), keeper.alarms()
    keeper.relieve()
    assert t.size(disk / "evidence") == 0, "pictures go first"
    print("after the pictures", fill())
    seqs = [row.seq for row in outbox.pending(limit=10_000)]
    outbox.ack(seqs[:300])  # on a full disk
    assert outbox.depth() == len(seqs) - 300
    keeper.relieve()
    print("after delivered results went", fill())
    left = [row.seq for row in outbox.pending(limit=10_000)]
    assert left[: len(seqs) - 300] == seqs[300:]
    outbox.ack(left)
    assert outbox.depth() == 0
    outbox.forget(0)
    outbox.commit("t", lambda s, e: b"{{}}")
    assert keeper.alarms() == ()
    print("done")
"""


def test_an_outbox_that_filled_its_disk_gets_going_again(tmp_path: Path) -> None:
    """On a real disk of 24 MB: a tmpfs in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    code = textwrap.dedent(FULL_DISK).format(here=str(Path(__file__).parent), disk=str(disk))
    script = f'mount -t tmpfs -o size=24m tmpfs "{disk}" && exec "$0" -c "$1"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    counts = [int(line.rsplit(" ", 1)[1]) for line in done.stdout.splitlines()[:-1]]
    assert done.stdout.endswith("done\n")
    assert all(count > 20 for count in counts), done.stdout
