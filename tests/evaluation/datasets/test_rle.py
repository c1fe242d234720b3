from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.rle import decode_counts, decode_pairs

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1))


def counts_of(mask: np.ndarray) -> list[int]:
    """Column by column, clean pixels first: one pixel at a time."""
    counts, value = [0], 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if mask[y, x] != value:
                counts.append(0)
                value = int(mask[y, x])
            counts[-1] += 1
    return counts


def compressed(counts: list[int]) -> str:
    """COCO's text, as its format is described: differences to the run before the last, five bits a letter."""
    text = ""
    for n, count in enumerate(counts):
        value = count - counts[n - 2] if n > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            done = (value == 0 and not bits & 16) or (value == -1 and bool(bits & 16))
            text += chr(48 + (bits if done else bits | 32))
            if done:
                break
    return text


@given(MASKS)
def test_pairs_give_the_mask_back(mask: np.ndarray) -> None:
    counts = counts_of(mask)
    starts = np.cumsum([0, *counts])
    pairs = " ".join(f"{starts[n] + 1} {counts[n]}" for n in range(1, len(counts), 2))
    assert np.array_equal(decode_pairs(pairs, mask.shape, "here"), mask)


@given(MASKS)
def test_counts_give_the_mask_back_as_a_list_and_as_text(mask: np.ndarray) -> None:
    counts = counts_of(mask)
    assert np.array_equal(decode_counts(counts, mask.shape, "here"), mask)
    assert np.array_equal(decode_counts(compressed(counts), mask.shape, "here"), mask)


def test_a_long_run_needs_several_letters() -> None:
    counts = [70_000, 5, 90_000, 40_000 - 5]
    mask = decode_counts(compressed(counts), (400, 500), "here")
    assert mask.sum() == 40_000 and mask.T.ravel()[70_000:70_005].all() and mask[-1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3", "3 numbers are no pairs"),
        ("1 two", "must be numbers, got '1 two'"),
        ("0 2", "outside the 4 x 3 px"),
        ("12 2", "outside the 4 x 3 px"),
        ("3 0", "outside the 4 x 3 px"),
    ],
)
def test_pairs_with_a_fault_are_refused(text: str, message: str) -> None:
    with pytest.raises(DataSetError, match=f"a.csv, row 2.*{message}"):
        decode_pairs(text, (3, 4), "a.csv, row 2")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5, 3], "add up to 8 px, the image has 4 x 3 = 12"),
        ([20, -8], "export the labels again"),
        ("\x01", "no letter of compressed"),
        ("P", "end in the middle of a number"),
    ],
)
def test_counts_with_a_fault_are_refused(counts: list[int] | str, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        decode_counts(counts, (3, 4), "here")
