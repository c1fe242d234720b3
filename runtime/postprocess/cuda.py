"""From score map to defects on the GPU: the same answer as :mod:`jetspect.runtime.postprocess.reference`.

The score map stays on the device. What comes back is one small table per class, and bitmaps of the components in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.cuda.base import Buffer, Cuda
from jetspect.runtime.cuda.memory import Memory
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import Component, least_area, level_of
from jetspect.runtime.tiling import round_up

# struct Stats and struct Drawing of kernels.cu.
STATS = np.dtype(
    [(name, np.uint64) for name in ("sum_x", "sum_y", "sum_score")]
    + [(name, np.uint32) for name in ("root", "area", "x0", "y0", "x1", "y1", "peak", "unused")]
)
DRAWING = np.dtype([(name, np.uint32) for name in ("root", "x0", "y0", "x1", "y1", "place")])
# Rows that come back with the counts; a good part has none, a bad one a few.
_PAGE = 256
_FIRST_PLACES = 1 << 16
_BITMAP_BYTES = 8 << 20
_MAX_PIXELS = 1 << 31


def pitch_of(width: int) -> int:
    """Return the bytes from one row of a score map on the device to the next: full words of 32 px."""
    return round_up(width, 32)


class ComponentFinder:
    """Finds defects in score maps of one size on the device. Not thread-safe; buffers are kept from frame to frame.

    Parameters
    ----------
    frame_hw
        Height and width in px; rows of a map lie :func:`pitch_of` apart, zero beyond the width.

    Raises
    ------
    InputError
        The map has more pixels than a label can name (2^31).
    EngineError
        The device has too little memory for it.
    """

    def __init__(self, cuda: Cuda, frame_hw: tuple[int, int], *, places: int = _FIRST_PLACES) -> None:
        self._cuda = cuda
        self._height, self._width = frame_hw
        self._words = pitch_of(self._width) // 32
        self._all = self._height * self._words
        if self._all * 32 >= _MAX_PIXELS:
            raise InputError(f"a frame of {self._width} x {self._height} px has more than 2^31 px; cut it in two")
        self._places = places
        self._memory = Memory(cuda)
        try:
            make = self._memory.alloc
            self._buffers = [make(self._all * 4) for _ in range(2)]
            self._labels = make(self._all * 32 * 4)
            self._counts = make(8)
            self._bitmaps = make(_BITMAP_BYTES)
            self._drawings = make(_BITMAP_BYTES // 16)
            self._stats, self._kept = (make(places * STATS.itemsize) for _ in range(2))
            self._page, _ = self._memory.host((min(_PAGE, places) * STATS.itemsize,), np.uint8)
            self._found, _ = self._memory.host((2,), np.uint32)
        except BaseException:
            self._memory.close()
            raise

    def find(
        self,
        score_map: Buffer,
        index: int,
        output: OutputContract,
        *,
        pixel_area_mm2: float | None = None,
        limit: int | None = None,
    ) -> tuple[list[Component], int]:
        """Find the defects of one class.

        Parameters
        ----------
        score_map
            uint8 height x pitch of the class.
        limit
            Describe so many at most, the largest.

        Returns
        -------
        list of Component, int
            In reading order of their first pixels, and how many more there are.
        """
        spec = output.classes[index]
        mask = self._mask(score_map, level_of(spec.threshold_low), output)
        rows = self._rows(score_map, mask, spec, output, least_area(spec, pixel_area_mm2))
        rows = rows[np.argsort(rows["root"])]
        dropped = 0 if limit is None else max(0, len(rows) - limit)
        if dropped:
            rows = rows[np.sort(np.argsort(-rows["area"].astype(np.int64), kind="stable")[:limit])]
        return [c for chunk in self._chunks(rows) for c in self._draw(mask, chunk, index)], dropped

    def _mask(self, score_map: Buffer, low: int, output: OutputContract) -> Buffer:
        mask, other = self._buffers
        self._cuda.launch("binarise", (self._all, 1, 1), score_map, mask, self._all, low)
        # Opening erodes, then dilates; closing the other way round. Eroding is dilating the background.
        steps = [(output.open_px, 1), (output.open_px, 0), (output.close_px, 0), (output.close_px, 1)]
        for reach, flip in steps:
            if reach:
                shape = self._height, self._words, self._width
                self._cuda.launch("dilate", (self._all, 1, 1), mask, other, *shape, reach, flip)
                mask, other = other, mask
        return mask

    def _rows(
        self, score_map: Buffer, mask: Buffer, spec: ClassSpec, output: OutputContract, least: int
    ) -> npt.NDArray[np.void]:
        """Label the mask and return the table of what the class's limits let through, in any order."""
        most = spec.max_area_px if spec.max_area_px is not None else _MAX_PIXELS
        limits = tuple(np.uint32(min(n, _MAX_PIXELS)) for n in (least, most, level_of(spec.threshold)))
        aspect = np.float64(np.inf if spec.max_aspect is None else spec.max_aspect)
        while True:
            self._label(score_map, mask, 8 if output.connectivity == 8 else 4)
            places = np.uint32(self._places)
            self._cuda.launch(
                "keep_components", (self._places, 1, 1), self._stats, places, self._kept, self._counts, *limits, aspect
            )
            self._cuda.download(self._found, self._counts)
            self._cuda.download(self._page, self._kept)
            self._cuda.synchronise()
            roots, kept = (int(n) for n in self._found)
            if roots <= self._places:
                break
            self._grow(roots)
        page: npt.NDArray[np.void] = self._page.view(STATS)
        if kept <= len(page):
            return np.array(page[:kept])
        rows = np.empty(kept, STATS)
        self._cuda.download(rows, self._kept)
        self._cuda.synchronise()
        return rows

    def _label(self, score_map: Buffer, mask: Buffer, neighbours: int) -> None:
        cuda, labels, words = self._cuda, self._labels, self._words
        each_word = (self._all, 1, 1)
        cuda.fill(self._counts, 0)
        cuda.launch("start_labels", each_word, mask, labels, self._all, words)
        cuda.launch("join_rows", each_word, mask, labels, self._all, words, int(neighbours == 8))
        cuda.launch("flatten", each_word, mask, labels, self._all)
        places = np.uint32(self._places)
        cuda.launch("number_roots", each_word, mask, labels, self._all, self._stats, places, self._counts)
        strips = self._height * -(-words // 8)
        cuda.launch("measure", (strips, 1, 1), mask, labels, score_map, self._height, words, self._stats)

    def _grow(self, roots: int) -> None:
        """Make room for more components than any frame so far had."""
        places = roots + roots // 4
        self._stats = self._larger(self._stats, places * STATS.itemsize)
        self._kept = self._larger(self._kept, places * STATS.itemsize)
        self._places = places

    def _larger(self, buffer: Buffer, nbytes: int) -> Buffer:
        """Return a larger buffer in place of one; where there is no room the old one stays."""
        larger = self._memory.alloc(nbytes)
        self._memory.free(buffer)
        return larger

    def _chunks(self, rows: npt.NDArray[np.void]) -> Iterator[npt.NDArray[np.void]]:
        """Split a table so that the bitmaps of each part fit the buffer; one that does not by itself gets a larger buffer."""
        sizes = (rows["x1"] - rows["x0"]).astype(np.int64) * (rows["y1"] - rows["y0"])
        if len(rows) and int(sizes.max()) > self._bitmaps.nbytes:
            self._bitmaps = self._larger(self._bitmaps, int(sizes.max()))
        most = self._drawings.nbytes // DRAWING.itemsize
        start = filled = 0
        for i, size in enumerate(sizes.tolist()):
            if filled + size > self._bitmaps.nbytes or i - start == most:
                yield rows[start:i]
                start, filled = i, 0
            filled += size
        if start < len(rows):
            yield rows[start:]

    def _draw(self, mask: Buffer, rows: npt.NDArray[np.void], index: int) -> Iterator[Component]:
        drawings = np.empty(len(rows), DRAWING)
        for name in ("root", "x0", "y0", "x1", "y1"):
            drawings[name] = rows[name]
        sizes = (rows["x1"] - rows["x0"]).astype(np.int64) * (rows["y1"] - rows["y0"])
        ends = np.cumsum(sizes)
        drawings["place"] = ends - sizes
        bitmaps = np.empty(int(ends[-1]), np.uint8)
        self._cuda.upload(self._drawings, drawings)
        count, pixels = np.uint32(len(rows)), np.uint32(ends[-1])
        threads = int(ends[-1]), 1, 1
        self._cuda.launch(
            "draw", threads, mask, self._labels, self._words, self._drawings, count, self._bitmaps, pixels
        )
        self._cuda.download(bitmaps, self._bitmaps)
        self._cuda.synchronise()
        for row, start in zip(rows, (ends - sizes).tolist(), strict=True):
            x0, y0, x1, y1 = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
            # A copy: a view of a few pixels would keep all bitmaps in memory.
            bitmap = bitmaps[start : start + (y1 - y0) * (x1 - x0)].reshape(y1 - y0, x1 - x0).copy()
            yield Component(
                class_index=index,
                box_yxyx=(y0, x0, y1, x1),
                bitmap=bitmap,
                area_px=int(row["area"]),
                sum_x=int(row["sum_x"]),
                sum_y=int(row["sum_y"]),
                sum_score=int(row["sum_score"]),
                peak=int(row["peak"]),
            )

    def close(self) -> None:
        """Give the memory back; may be called again."""
        self._memory.close()
