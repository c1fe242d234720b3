"""What is known of the images of a watched folder: which are whole, and which were taken already."""

from __future__ import annotations

import time
from pathlib import Path

from jetspect.runtime.sources.files import Look, Seen, natural


class Watched:
    """Compares one look at a folder with what earlier ones showed.

    Parameters
    ----------
    patience_s
        How long a file may be unreadable before it counts as lost.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._done: dict[Path, Seen] = {}
        self._before: dict[Path, Seen] = {}
        self._unreadable: dict[Path, tuple[Seen, float]] = {}
        self._elsewhere: list[dict[Path, Seen]] = []
        self._place: tuple[int, int] | None = None

    def skip(self, look: Look) -> None:
        """Count all that is there as taken."""
        self._done.update(look.images)
        self._place = look.place

    def written(self, look: Look) -> list[Path]:
        """Return the images that did not change since the look before and were not taken as they are."""
        return [
            path
            for path in sorted(look.images, key=natural)
            if look.images[path] == self._before.get(path) and look.images[path] != self._done.get(path)
        ]

    def wait_for(self, path: Path, look: Look) -> bool:
        """Return whether an image that cannot be read may still become whole: its writer may only have paused."""
        seen, now = look.images[path], time.monotonic()
        first, since = self._unreadable.get(path, (seen, now))
        self._unreadable[path] = (seen, since if first == seen else now)
        return now - self._unreadable[path][1] < self._patience_s

    def taken(self, path: Path, look: Look) -> None:
        self._done[path] = look.images[path]

    def forget(self, look: Look) -> None:
        """Forget what was taken away, so that years of parts do not fill the memory."""
        self._before = look.images
        if self._place not in (None, look.place):
            # What stands in place of the known folder may be the mount point of a share, which comes back.
            if not look.images:
                return
            self._elsewhere = [self._done, *self._elsewhere][:2]
            self._done = {path: seen for known in reversed(self._elsewhere) for path, seen in known.items()}
        self._place = look.place
        self._done = {path: seen for path, seen in self._done.items() if look.may_hold(path)}
        self._unreadable = {
            path: entry for path, entry in self._unreadable.items() if look.may_hold(path) and path not in self._done
        }
