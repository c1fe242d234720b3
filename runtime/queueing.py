"""The bounded queue between a source and the inspector, with a drop policy in which every frame is accounted for."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

from jetspect.runtime.frames import Frame, LostCause, LostFrame, lost

MOST_WAITING = 10_000  # then even dropped frames make the source wait: results are not being recorded
Policy = Literal["block", "drop_oldest", "drop_newest"]


class FrameQueue:
    """Holds at most ``size`` frames with images.

    A frame that has to give way turns into a LostFrame that keeps its place in the order, so that it still gets an
    (UNKNOWN) result. LostFrames hold no image and do not count against the size.
    """

    def __init__(self, size: int, policy: Policy) -> None:
        self._size = size
        self._policy = policy
        # A cell holds one frame, so that a frame can be replaced in its place wherever that is.
        self._cells: deque[list[Frame | LostFrame]] = deque()
        self._images: deque[list[Frame | LostFrame]] = deque()  # the cells with images
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: Frame | LostFrame) -> bool:
        """Add a frame, waiting for room under the policy ``block``. False once the queue is closed: nobody takes it."""
        with self._changed:
            if isinstance(item, Frame):
                while self._policy == "block" and len(self._images) >= self._size and not self._closed:
                    self._changed.wait()
            while len(self._cells) >= MOST_WAITING and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            if isinstance(item, Frame) and len(self._images) >= self._size:
                item = self._make_room(item)
            self._cells.append([item])
            if isinstance(item, Frame):
                self._images.append(self._cells[-1])
            self._changed.notify_all()
            return True

    def get(self) -> Frame | LostFrame | None:
        """Take the oldest frame, waiting for one. None once the queue is closed and empty."""
        with self._changed:
            while not self._cells and not self._closed:
                self._changed.wait()
            if not self._cells:
                return None
            (item,) = self._cells.popleft()
            if isinstance(item, Frame):
                self._images.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Accept no more frames; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._cells)

    def _make_room(self, item: Frame) -> Frame | LostFrame:
        self.dropped += 1
        if self._policy == "drop_newest":
            return _dropped(item)
        cell = self._images.popleft()
        (oldest,) = cell
        if isinstance(oldest, Frame):
            cell[0] = _dropped(oldest)
        return item


def _dropped(frame: Frame) -> LostFrame:
    return lost(frame, "dropped: frames come faster than they are inspected", LostCause.QUEUE_FULL)
