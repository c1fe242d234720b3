"""A time that never goes back, whatever is done to the machine's clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SteadyClock:
    """Follows a wall clock forwards; where that jumps back, time passes on from where it was.

    What was acknowledged last must also look like it: an outbox sends again what was acknowledged in the last seconds.

    Parameters
    ----------
    latest
        A time that has already been given out, for example before a restart.
    """

    def __init__(self, wall: Callable[[], float], latest: float) -> None:
        self._wall = wall
        self._latest, self._at = latest, time.monotonic()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since 1970 by the furthest the wall clock ever was, plus what has passed since."""
        with self._lock:
            at = time.monotonic()
            self._latest, self._at = max(self._wall(), self._latest + at - self._at), at
            return self._latest
