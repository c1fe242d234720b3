"""An archive that is born quickly and dies by SIGKILL, many times over; each life is forked from one that has the imports.

A life writes a byte to a pipe before and after each commit. It is killed after a random number of them: in the middle of a
commit, or between commit and acknowledgement.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from consumers import ANY, broker_at

from jetspect.runtime.consuming.archive import Archive
from jetspect.runtime.consuming.archivist import Archivist
from jetspect.runtime.consuming.consumer import Consumer
from jetspect.runtime.consuming.inbox import Inbox
from jetspect.runtime.consuming.reader import Received, ResultReader
from jetspect.runtime.consuming.receipts import Receipts


class Talkative(Archivist):
    told: int

    def keep(self, batch: list[Received], reader: ResultReader) -> bool:
        os.write(self.told, b".")
        kept = super().keep(batch, reader)
        os.write(self.told, b".")
        return kept


def live(url: str, port: int, told: int) -> None:
    archive = Archive(url)
    with Inbox(broker_at(port), [ANY], client_id="archive", patient=True) as inbox:
        archivist = Talkative(archive, inbox.stopping, print)
        archivist.told = told
        receipts = Receipts("archive", inbox)
        Consumer(inbox, archive.load(), archivist, receipts=receipts, tell=print).run(most=5)


def one_life(url: str, port: int, bytes_to_live: int, seconds: float) -> None:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            live(url, port, writable)
        finally:
            os._exit(3)
    os.close(writable)
    for _ in range(bytes_to_live):
        os.read(readable, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(readable)
    if not os.WIFSIGNALED(status):
        raise SystemExit(f"an archive ended by itself, status {status}")


def main(url: str, port: int, lives: int, seed: int) -> None:
    rng = random.Random(seed)
    Archive(url).close()
    for _ in range(lives):
        one_life(url, port, rng.randrange(1, 9), rng.uniform(0.0, 0.004))
        print("x", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
