from __future__ import annotations

import threading
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jetspect.runtime.frames import Frame, LostCause, LostFrame
from jetspect.runtime.queueing import FrameQueue


def frame(number: int) -> Frame:
    return Frame(np.zeros((1, 1), np.uint8), str(number), part_id=f"P{number}")


def drain(queue: FrameQueue) -> list[Frame | LostFrame]:
    queue.close()
    items = []
    while (item := queue.get()) is not None:
        items.append(item)
    return items


@given(st.integers(1, 5), st.integers(0, 20), st.sampled_from(["drop_oldest", "drop_newest"]))
def test_every_frame_comes_out_once_and_in_order_dropped_or_not(size: int, count: int, policy: str) -> None:
    queue = FrameQueue(size, policy)  # type: ignore[arg-type]
    for number in range(count):
        assert queue.put(frame(number))
    items = drain(queue)
    assert [i.frame_id for i in items] == [str(n) for n in range(count)]
    kept = [int(i.frame_id) for i in items if isinstance(i, Frame)]
    expected = list(range(count))[-size:] if policy == "drop_oldest" else list(range(count))[:size]
    assert kept == expected
    assert queue.dropped == count - len(kept)
    assert all(i.part_id == f"P{i.frame_id}" for i in items)
    assert {i.cause for i in items if isinstance(i, LostFrame)} <= {LostCause.QUEUE_FULL}


def test_block_makes_the_source_wait_and_drops_nothing() -> None:
    queue = FrameQueue(1, "block")
    queue.put(frame(0))
    feeder = threading.Thread(target=queue.put, args=(frame(1),))
    feeder.start()
    time.sleep(0.05)
    assert feeder.is_alive()
    first = queue.get()
    feeder.join(timeout=2)
    assert not feeder.is_alive()
    assert first is not None
    assert [i.frame_id for i in drain(queue)] == ["1"]
    assert queue.dropped == 0


def test_closing_frees_a_source_that_waits_and_a_reader_that_waits() -> None:
    full, empty = FrameQueue(1, "block"), FrameQueue(1, "block")
    full.put(frame(0))
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(full.put(frame(1)))),
        threading.Thread(target=lambda: answers.append(empty.get())),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    full.close()
    empty.close()
    for thread in threads:
        thread.join(timeout=2)
    assert sorted(answers, key=str) == [False, None]


def test_a_lost_frame_needs_no_room() -> None:
    queue = FrameQueue(1, "block")
    queue.put(frame(0))
    assert queue.put(LostFrame("1", "unreadable"))
    assert [i.frame_id for i in drain(queue)] == ["0", "1"]
