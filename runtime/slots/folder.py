"""The folder of slots: places ``a`` and ``b``, and ``current``, a link to the live one that is only ever replaced whole.

What a power cut may leave: nothing of a change, or all of it. Files are on the disk before the name that makes them count.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from jetspect.errors import DeployError

Slot = Literal["a", "b"]
Step = Callable[[str], None]
SLOTS: tuple[Slot, Slot] = ("a", "b")
_POINTER = "current"
_LOCK = ".lock"
_LOCK_S = 20.0


class Content(NamedTuple):
    """What is live: a slot, and which folder it was; a slot that was filled anew is another one."""

    slot: Slot
    inode: int
    changed_ns: int


def other(slot: Slot) -> Slot:
    return "b" if slot == "a" else "a"


class SlotFolder:
    """Reads and changes one folder of slots. ``step`` is called before each change on the disk; tests die in it."""

    def __init__(self, path: Path, step: Step = lambda _: None) -> None:
        self.path, self.step = path, step

    def current(self) -> Slot | None:
        """Return the live slot; None before the first deploy.

        Raises
        ------
        DeployError
            The folder cannot be read, or the link is none of ours.
        """
        link = self.path / _POINTER
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeployError(f"{link} cannot be read: {error.strerror or error}; it is a link to a or b") from error
        if target not in SLOTS:
            raise DeployError(f"{link} leads to {target!r}, not to a or b; deploy again after removing it")
        return target

    def content(self) -> Content | None:
        """Return what is live now; None before the first deploy; errors as :meth:`current`."""
        slot = self.current()
        return None if slot is None else self.content_of(slot)

    def content_of(self, slot: Slot) -> Content:
        """Return what lies in a slot, 0 for nothing."""
        try:
            found = self.place(slot).stat()
        except OSError:
            return Content(slot, 0, 0)  # opening it says what is wrong
        return Content(slot, found.st_ino, found.st_mtime_ns)

    def place(self, slot: Slot) -> Path:
        return self.path / slot

    def filled(self, slot: Slot) -> bool:
        return self.place(slot).is_dir()

    @contextmanager
    def lock(self, wait_s: float = _LOCK_S) -> Iterator[None]:
        """Keep every other process from changing anything; DeployError where one of them does not end in time."""
        with self._told():
            handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() >= deadline:
                        raise DeployError(
                            f"{self.path} is being changed by another deploy or rollback; try again when it has ended"
                        ) from error
                    time.sleep(0.05)  # flock has no timeout of its own
            yield
        finally:
            os.close(handle)

    def make(self) -> None:
        """Make the folder where it is not there, and refuse one of another user: its station could not use it."""
        with self._told():
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            owner = self.path.stat().st_uid
        if owner != os.geteuid():
            raise DeployError(
                f"{self.path} belongs to user {owner}, this is user {os.geteuid()}; deploy as the user of the station: "
                "sudo -u jetspect jetspect device ..."
            )

    def fill(self, slot: Slot, files: Mapping[str, bytes], check: Callable[[Path], None]) -> None:
        """Put a bundle into a slot that is not live. The caller holds the lock.

        Parameters
        ----------
        check
            Called with the draft, as it is on the disk.
        """
        draft, old = self.path / f".{slot}.new", self._aside(slot)
        self.mend()
        with self._told():
            self._clear(draft, old)
            try:
                draft.mkdir(mode=0o750)
                for name, data in files.items():
                    self.step(f"write {name}")
                    write_through(draft / name, data)
                sync_folder(draft)
                check(draft)
                if self.place(slot).exists():
                    self.step("move the old bundle away")
                    self.place(slot).rename(old)
                self.step("name the new bundle")
                draft.rename(self.place(slot))
                self.step("sync the names")
                sync_folder(self.path)
            finally:
                with suppress(OSError):
                    if old.exists() and not self.place(slot).exists():
                        old.rename(self.place(slot))
                    self._clear(draft, old)

    @property
    def torn(self) -> bool:
        """Whether there is something to mend, or a fill is between its two renames just now."""
        return any(self._aside(slot).is_dir() and not self.place(slot).exists() for slot in SLOTS)

    def mend(self) -> None:
        """Put back what a fill that was killed between its two renames has moved away. The caller holds the lock."""
        with self._told():
            for slot in SLOTS:
                if self._aside(slot).is_dir() and not self.place(slot).exists():
                    self.step("put the old bundle back")
                    self._aside(slot).rename(self.place(slot))
                    sync_folder(self.path)

    def _aside(self, slot: Slot) -> Path:
        return self.path / f".{slot}.old"

    def switch(self, slot: Slot) -> None:
        """Make a slot the live one. The caller holds the lock."""
        draft = self.path / f".{_POINTER}.new"
        with self._told():
            draft.unlink(missing_ok=True)
            self.step("make the new pointer")
            draft.symlink_to(slot)
            self.step("switch the pointer")
            draft.replace(self.path / _POINTER)
            self.step("sync the pointer")
            sync_folder(self.path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DeployError(
                f"slots in {self.path} cannot be changed: {error.strerror or error}; check its disk and owner, the live "
                "slot is as it was"
            ) from error

    def _clear(self, *paths: Path) -> None:
        for path in paths:
            if path.exists():
                self.step(f"remove {path.name}")
                shutil.rmtree(path)


def write_through(path: Path, data: bytes) -> None:
    """Write a new file, on the disk when this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(handle)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
