"""Whether the log of a SQLite file (``-wal``) is whole after an unclean end, and what of a damaged one is good.

SQLite reads a log up to the first frame that does not add up and forgets the rest without a word: right for a write that was
cut off, wrong for damage. The two differ in what lies behind that frame. The format: https://sqlite.org/fileformat.html, 4.
"""

from __future__ import annotations

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
_HEADER, _FRAME = 32, 24  # bytes of the file's header, and of a frame's before its page
_MAGIC = 0x377F0682  # one more: sums are over big-endian words
_AT_ONCE = 64  # frames
_GENERATIONS = 1 << 20  # the first salt counts up each time the log begins anew


@dataclass(frozen=True)
class LogState:
    """What a look at a log says.

    Attributes
    ----------
    damage
        What is wrong with it; empty where nothing is, also where the last write was cut off.
    doubtful
        The last write was cut off, or just that one is damaged: these look the same.
    """

    damage: str = ""
    doubtful: bool = False


class _Log:
    """The heads and sums of a log's frames as arrays; without any where the file has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.head, fields, sums = b"", [np.zeros((0, 6), np.uint32)], [np.zeros((0, 2), np.uint32)]
        with path.open("rb", buffering=0) if path.exists() else io.BytesIO() as file:
            self.head = file.read(_HEADER).ljust(_HEADER, b"\0")
            magic, _, page = struct.unpack(">3I", self.head[:12])
            self.known = magic in (_MAGIC, _MAGIC + 1) and page in {1 << n for n in range(9, 17)}
            self.page: int = page if self.known else 4096
            self.words = "=u4" if not self.known else ">u4" if magic & 1 else "<u4"
            # A piece at a time: a log may be large, and new memory costs more than all that is done with it.
            buffer = np.empty((_AT_ONCE, _FRAME + self.page), np.uint8)
            while count := file.readinto(buffer.data) // buffer.shape[1]:
                fields.append(np.ascontiguousarray(buffer[:count, :_FRAME]).view(">u4").astype(np.uint32))
                sums.append(self._added(buffer[:count]))
        heads, self.sums = np.concatenate(fields), np.concatenate(sums)
        self.commits, self.salts, self.stored = heads[:, 1] != 0, heads[:, 2:4], heads[:, 4:6]
        self.salt, self.start = np.frombuffer(self.head, ">u4", 4, 16).astype(np.uint32).reshape(2, 2)

    def __len__(self) -> int:
        return len(self.sums)

    def header_is_whole(self) -> bool:
        return self.known and bool((_sums(np.frombuffer(self.head, self.words, 6)) == self.start).all())

    def follows(self) -> npt.NDArray[np.bool_]:
        """Whether each frame adds up to its checksum, going on from what stands in the one before."""
        before = np.concatenate([self.start[None], self.stored])[:-1]
        found: npt.NDArray[np.bool_] = (_carried(before, 2 + self.page // 4) + self.sums == self.stored).all(axis=1)
        return found

    def frame(self, number: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(_HEADER + number * (_FRAME + self.page))
            return file.read(_FRAME + self.page)

    def _added(self, frames: npt.NDArray[np.uint8]) -> U32:
        """Return what each frame adds to the sum before it."""
        words = frames.view(self.words)  # six of the head, of which two count, and the page
        weights = _weights(2 + self.page // 4)
        head = np.einsum("ij,kj->ik", words[:, :2], weights[:, :2])
        made: U32 = head + np.einsum("ij,kj->ik", words[:, 6:], weights[:, 2:])
        return made


def look(path: Path) -> LogState:
    """Look at a log that no process has open. Raises OSError where it cannot be read."""
    log = _Log(path)
    if not len(log):
        return LogState()
    if not log.header_is_whole():
        return LogState("the header of its log does not add up")
    current = (log.salts == log.salt).all(axis=1)
    whole = current & log.follows()
    count = _count(whole, ends=True)
    blank = (log.salts == 0).all(axis=1)
    older = log.salt[0] - log.salts[:, 0]
    strange = ~current & ~blank & ((older == 0) | (older > _GENERATIONS))
    # Of a write that was cut off, what ends it is missing or broken; behind a broken frame, only damage leaves a whole one.
    # That an end stands there is not enough: writes that were cut off one after the other at one place leave a mixture.
    if (whole & log.commits)[count + 1 :].any() or strange[count:].any():
        return LogState(f"frame {count + 1} of its log does not add up, and there are more behind it")
    return LogState(doubtful=count < len(whole) and bool(blank[count] or (current & log.commits)[count]))


def repaired(path: Path) -> bytes:
    """Return a log of the frames that are good by themselves, so that SQLite reads past those that are not."""
    log = _Log(path)
    if not len(log):
        return b""
    whole = log.follows()
    salt = log.salt if log.header_is_whole() else log.salts[int(np.argmax(whole))]
    # A frame is good where it follows from the one before. Behind a broken one that cannot be told; its page may be good.
    kept = (log.salts == salt).all(axis=1) & (whole | ~np.concatenate([[True], whole[:-1]]))
    last = _count(kept & log.commits)
    if not last:
        return b""
    big = np.dtype(log.words) == np.dtype(">u4")
    header = struct.pack(">4I", _MAGIC + big, 3007000, log.page, 0) + salt.astype(">u4").tobytes()
    sums = _sums(np.frombuffer(header, log.words, 6))
    made = [header, sums.astype(">u4").tobytes()]
    for number in np.flatnonzero(kept[:last]):
        frame = log.frame(int(number))
        sums = _carried(sums[None], 2 + log.page // 4)[0] + log.sums[number]
        made += [frame[:16], sums.astype(">u4").tobytes(), frame[_FRAME:]]
    return b"".join(made)


def _count(which: npt.NDArray[np.bool_], *, ends: bool = False) -> int:
    """Return how many there are up to the last one, or before the first that is none."""
    found = np.flatnonzero(~which if ends else which)
    return (int(found[0]) if len(found) else len(which)) if ends else (int(found[-1]) + 1 if len(found) else 0)


def _sums(words: npt.NDArray[np.uint32]) -> U32:
    """Return the checksum of words, from nothing."""
    made: U32 = np.einsum("j,kj->k", words, _weights(len(words))).astype(np.uint32)
    return made


def _carried(before: U32, words: int) -> U32:
    """Return what sums are worth after so many words more."""
    f = _fibonacci(words + 1)
    made: U32 = np.einsum("ij,kj->ik", before, np.array([[f[-3], f[-2]], [f[-2], f[-1]]], np.uint32))
    return made


def _weights(words: int) -> U32:
    """Return the checksum's recurrence as one product modulo 2**32.

    It takes two words at a time: s0 += x0 + s1, s1 += x1 + s0. So each word counts as often as a Fibonacci number says.
    """
    f = np.array(_fibonacci(words), np.uint32)
    return np.stack([f[-2::-1], f[:0:-1]])


@functools.cache
def _fibonacci(last: int) -> list[int]:
    found = [0, 1]
    while len(found) <= last:
        found.append((found[-1] + found[-2]) & 0xFFFFFFFF)
    return found
