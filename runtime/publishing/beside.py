"""Small files beside an outbox: its lock, space kept back for a full disk, and how far ``seq`` has counted."""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from contextlib import suppress
from pathlib import Path

from jetspect.errors import PublishError

log = logging.getLogger(__name__)


class Reserve:
    """Space on the disk that only acknowledgements and deletions may use.

    SQLite needs room to write even that a result was delivered. Without it an outbox that filled its disk could never
    shrink again: nothing could be acknowledged, so nothing deleted.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self.kept = False
        self.keep()

    @property
    def spent(self) -> bool:
        return bool(self._size) and not self.kept

    def keep(self) -> bool:
        """Take the space, where there is enough; True while it is held."""
        if not self.kept and self._size:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(handle, 0, self._size)
                finally:
                    os.close(handle)
                self.kept = True
            except OSError:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)
        return self.kept or not self._size

    def release(self) -> bool:
        """Give the space back to the disk; True where there was some."""
        given = self.kept
        self.kept = False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return given


class SeqMark:
    """A bound that no ``seq`` of a station has passed, kept apart from the outbox.

    Where the outbox is lost or an old copy of it comes back, counting goes on above the bound: a ``seq`` is never given to
    two results. The bound moves in steps, so that it rarely costs a write; after a loss consumers see a gap up to one step.
    ``outbox_id`` names the count: it changes only where outbox and mark are lost together, and ``seq`` begins anew.
    """

    STEP = 256
    _WIDTH = 20

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bound, self.outbox_id = self._read()

    def _read(self) -> tuple[int, str]:
        try:
            first, _, rest = self._path.read_text("ascii").partition("\n")
            bound = int(first)
        except FileNotFoundError:
            return 0, ""
        except (OSError, ValueError) as error:
            log.error("%s cannot be read (%s); seq goes on from the outbox alone", self._path, error)
            return 0, ""
        try:
            return bound, str(uuid.UUID(rest.strip()))
        except ValueError:  # written before the count had a name: the outbox knows it, or gets one
            return bound, ""

    def name(self, known: str) -> str:
        """Return the count's id: the one that stands here, else the one that the outbox knows, else a new one."""
        self.outbox_id = self.outbox_id or known or str(uuid.uuid4())
        return self.outbox_id

    def cover(self, seq: int) -> None:
        """Raise the bound to ``seq`` or above, on the disk, before it is used. Raises OSError."""
        if seq <= self.bound:
            return
        bound = seq + self.STEP - 1
        # Written in place: a full disk has no room for a second file.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(handle, b"%0*d\n%s\n" % (self._WIDTH, bound, self.outbox_id.encode()), 0)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        self.bound = bound


def lock_file(path: Path) -> int:
    """Hold ``<outbox>.lock`` for this process; the kernel frees it, also after a kill."""
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PublishError(
            f"outbox {path} cannot be written ({error.strerror}); create its folder, check its owner or change outbox.path"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise PublishError(f"outbox {path} is in use by another station; one outbox serves one process") from error
    return handle
