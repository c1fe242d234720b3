"""Whether the log of a SQLite file (``-wal``) is whole after an unclean end, and what of a damaged one is good.

SQLite reads a log up to the first frame that does not add up and forgets the rest without a word: right for a write that was
cut off, wrong for damage. The two differ in what lies behind that frame. The format: https://sqlite.org/fileformat.html, 4.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
_HEADER, _FRAME = 32, 24  # bytes of the file's header, and of a frame's before its page
_MAGIC = 0x377F0682  # one more: sums are over big-endian words
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
    """A log as arrays, a row for each frame."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        magic, _, page = struct.unpack(">3I", data[:12])
        self.known = magic in (_MAGIC, _MAGIC + 1) and page in {1 << n for n in range(9, 17)}
        self.page: int = page if self.known else 4096
        self.words = "=u4" if not self.known else ">u4" if magic & 1 else "<u4"
        size = _FRAME + self.page
        self.frames = np.frombuffer(data, np.uint8, (len(data) - _HEADER) // size * size, _HEADER).reshape(-1, size)
        fields = np.ascontiguousarray(self.frames[:, :_FRAME]).view(">u4").astype(np.uint32)
        self.commits, self.salts, self.stored = fields[:, 1] != 0, fields[:, 2:4], fields[:, 4:6]
        self.power, weights = _weights(1 + self.page // 8)
        words = self.frames.view(self.words)  # six of the head, of which two count, and the page
        self.sums: U32 = np.einsum("ij,kj->ik", words[:, 6:], weights[:, 2:]).astype(np.uint32)
        self.sums += np.einsum("ij,kj->ik", words[:, :2], weights[:, :2]).astype(np.uint32)

    @property
    def salt(self) -> U32:
        return np.frombuffer(self.data, ">u4", 2, 16).astype(np.uint32)

    def header_is_whole(self) -> bool:
        _, weights = _weights(3)
        summed = np.frombuffer(self.data, self.words, 6).astype(np.uint32)
        found = (weights * summed).sum(axis=1, dtype=np.uint32)
        return self.known and bool((found == np.frombuffer(self.data, ">u4", 2, 24)).all())

    def follows(self) -> npt.NDArray[np.bool_]:
        """Whether each frame adds up to its checksum, going on from what stands in the one before."""
        first = np.frombuffer(self.data, ">u4", 2, 24).astype(np.uint32)
        before = np.concatenate([first[None], self.stored[:-1]])
        found: npt.NDArray[np.bool_] = (_after(self.power, before) + self.sums == self.stored).all(axis=1)
        return found


def look(path: Path) -> LogState:
    """Look at a log that no process has open. Raises OSError where it cannot be read."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _HEADER + _FRAME + 512:
        return LogState()
    log = _Log(data)
    if len(log.frames) == 0:
        return LogState()
    if not log.header_is_whole():
        return LogState("the header of its log does not add up")
    current = (log.salts == log.salt).all(axis=1)
    good = current & log.follows()
    count = int(np.argmin(good)) if not good.all() else len(good)
    blank = (log.salts == 0).all(axis=1)
    older = (log.salt[0] - log.salts[:, 0]).astype(np.uint32)
    strange = ~current & ~blank & ((older == 0) | (older > _GENERATIONS))
    # Of a write that was cut off, what ends it is missing; behind a frame that is broken, only damage leaves one.
    if (current & log.commits)[count + 1 :].any() or strange[count:].any():
        return LogState(f"frame {count + 1} of its log does not add up, and there are more behind it")
    return LogState(doubtful=count < len(good) and bool(blank[count] or (current & log.commits)[count]))


def repaired(path: Path) -> bytes:
    """Return a log of the frames that are good by themselves, so that SQLite reads past those that are not."""
    data = path.read_bytes()
    if len(data) < _HEADER + _FRAME + 512:
        return b""
    log = _Log(data)
    if len(log.frames) == 0:
        return b""
    whole = log.follows()
    salt = log.salt if log.header_is_whole() else log.salts[int(np.argmax(whole))]
    # A frame is good where it follows from the one before. Behind a broken one that cannot be told; its page may be good.
    kept = (log.salts == salt).all(axis=1) & (whole | ~np.concatenate([[True], whole[:-1]]))
    if not (kept & log.commits).any():
        return b""
    big = np.dtype(log.words) == np.dtype(">u4")
    header = struct.pack(">4I", _MAGIC + big, 3007000, log.page, 0) + salt.astype(">u4").tobytes()
    _, weights = _weights(3)
    sums = (weights * np.frombuffer(header, log.words, 6).astype(np.uint32)).sum(axis=1, dtype=np.uint32)
    made = [header, sums.astype(">u4").tobytes()]
    last = int(np.flatnonzero(kept & log.commits)[-1])
    for number in np.flatnonzero(kept[: last + 1]):
        frame = log.frames[number].tobytes()
        sums = _after(log.power, sums[None])[0] + log.sums[number]
        made += [frame[:16], sums.astype(">u4").tobytes(), frame[_FRAME:]]
    return b"".join(made)


def _after(power: U32, before: U32) -> U32:
    return np.stack([(before * row).sum(axis=1, dtype=np.uint32) for row in power], axis=1)


@functools.cache
def _weights(steps: int) -> tuple[U32, U32]:
    """Return the checksum's recurrence as products modulo 2**32.

    One step takes two words: s0 += x0 + s1, s1 += x1 + s0. As a matrix, s' = [[1, 1], [1, 2]] s + (x0, x0 + x1); the power of
    it for all steps carries the sum before, and its lower powers weigh each word.
    """
    a, b, c, d = 1, 0, 0, 1
    powers = []
    for _ in range(steps):
        powers.append(((a + b) & 0xFFFFFFFF, b, (c + d) & 0xFFFFFFFF, d))  # weights of x0 and x1 in s0, then in s1
        a, b, c, d = (n & 0xFFFFFFFF for n in (a + c, b + d, a + 2 * c, b + 2 * d))
    table = np.array(powers[::-1], np.uint32)
    return np.array([[a, b], [c, d]], np.uint32), np.stack([table[:, :2].reshape(-1), table[:, 2:].reshape(-1)])
