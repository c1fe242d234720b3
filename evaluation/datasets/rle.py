"""Run lengths of masks as Severstal and COCO write them: column by column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError

U8 = npt.NDArray[np.uint8]
_BITS = 60


def decode_pairs(text: str, size_hw: tuple[int, int], where: str) -> U8:
    """Decode "start length start length ..." with starts from 1, as in Severstal's csv; uint8 H x W of 0 and 1.

    Raises
    ------
    DataSetError
        Something is no number, the count is odd, or a run lies outside the image.
    """
    try:
        numbers = np.array(text.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise DataSetError(f"{where}: run lengths must be numbers, got {text[:40]!r}; download it again") from error
    if numbers.size % 2:
        raise DataSetError(f"{where}: {numbers.size} numbers are no pairs of start and length; download it again")
    starts, lengths = numbers[0::2] - 1, numbers[1::2]
    flat = np.zeros(size_hw[0] * size_hw[1], np.uint8)
    if numbers.size and (min(starts.min(), lengths.min() - 1) < 0 or (lengths > flat.size - starts).any()):
        raise DataSetError(
            f"{where}: a run lies outside the {size_hw[1]} x {size_hw[0]} px of the image; they do not belong together"
        )
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        flat[start : start + length] = 1
    return np.asarray(flat.reshape(size_hw[1], size_hw[0]).T.copy(), np.uint8)


def decode_counts(counts: Sequence[int] | str, size_hw: tuple[int, int], where: str) -> U8:
    """Decode COCO's run lengths, alternately clean and defective, as a list or in its compressed text; uint8 H x W of 0 and 1.

    Raises
    ------
    DataSetError
        The runs do not fill the image exactly, or the text is damaged.
    """
    numbers = _uncompress(counts, where) if isinstance(counts, str) else [int(c) for c in counts]
    total = size_hw[0] * size_hw[1]
    if min(numbers, default=0) < 0 or sum(numbers) != total:
        raise DataSetError(
            f"{where}: runs add up to {sum(numbers)} px, the image has {size_hw[1]} x {size_hw[0]} = {total}; "
            "export the labels again"
        )
    values = np.arange(len(numbers), dtype=np.uint8) % 2
    return np.asarray(np.repeat(values, numbers).reshape(size_hw[1], size_hw[0]).T.copy(), np.uint8)


def _uncompress(text: str, where: str) -> list[int]:
    """Undo COCO's text: five bits per letter from '0' on, the sixth says that more follow; later runs are differences."""
    numbers: list[int] = []
    value, shift = 0, 0
    for letter in text:
        if shift > _BITS:
            raise DataSetError(f"{where}: a run length is longer than any image; export the labels again")
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            raise DataSetError(f"{where}: {letter!r} is no letter of compressed run lengths; export the labels again")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift  # the highest bit is the sign
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise DataSetError(
            f"{where}: the compressed run lengths end in the middle of a number; export the labels again"
        )
    return numbers
