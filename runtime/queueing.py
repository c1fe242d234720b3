"""The bounded queue between a source and the inspector, with a drop policy in which every frame is accounted for."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

from jetspect.runtime.frames import Frame, LostFrame

Policy = Literal["block", "drop_oldest", "drop_newest"]


class FrameQueue:
    """Holds at most ``size`` frames with images.

    A frame that has to give way turns into a LostFrame that keeps its place in the order, so that it still gets an
    (UNKNOWN) result. LostFrames hold no image and do not count against the size.
    """

    def __init__(self, size: int, policy: Policy) -> None:
        self._size = size
        self._policy = policy
        self._items: deque[Frame | LostFrame] = deque()
        self._images = 0
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: Frame | LostFrame) -> bool:
        """Add a frame, waiting for room under the policy ``block``. False once the queue is closed: nobody takes it."""
        with self._changed:
            if isinstance(item, Frame):
                while self._policy == "block" and self._images >= self._size and not self._closed:
                    self._changed.wait()
                if not self._closed and self._images >= self._size:
                    item = self._make_room(item)
            if self._closed:
                return False
            self._items.append(item)
            self._images += isinstance(item, Frame)
            self._changed.notify_all()
            return True

    def get(self) -> Frame | LostFrame | None:
        """Take the oldest frame, waiting for one. None once the queue is closed and empty."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._images -= isinstance(item, Frame)
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Accept no more frames; what is inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._items)

    def _make_room(self, item: Frame) -> Frame | LostFrame:
        self.dropped += 1
        if self._policy == "drop_newest":
            return _lost(item)
        index = next(i for i, waiting in enumerate(self._items) if isinstance(waiting, Frame))
        oldest = self._items[index]
        assert isinstance(oldest, Frame)
        self._items[index] = _lost(oldest)
        self._images -= 1
        return item


def _lost(frame: Frame) -> LostFrame:
    reason = "dropped: frames come faster than they are inspected"
    return LostFrame(frame.frame_id, reason, frame.captured_at, frame.part_id, frame.origin)
