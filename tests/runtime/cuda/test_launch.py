from __future__ import annotations

import numpy as np
import pytest

from jetspect.errors import InputError
from jetspect.runtime.cuda.base import Argument, Buffer, CudaInfo
from jetspect.runtime.cuda.launch import BLOCK, grid_of, pack


@pytest.mark.parametrize(("x", "blocks"), [(1, 1), (BLOCK, 1), (BLOCK + 1, 2), (10**9, 7812500)])
def test_there_are_blocks_for_every_thread(x: int, blocks: int) -> None:
    assert grid_of((x, 3, 65535)) == (blocks, 3, 65535)


@pytest.mark.parametrize("threads", [(0, 1, 1), (1, 0, 1), (1, 1, 65536), (1, 65536, 1), (-5, 1, 1)])
def test_what_cuda_would_refuse_is_refused(threads: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="65535 blocks along y and z"):
        grid_of(threads)


@pytest.mark.parametrize(
    ("argument", "dtype", "value"),
    [
        (5, np.int32, 5),
        (True, np.int32, 1),
        (0.5, np.float32, 0.5),
        (np.float64(0.1), np.float64, 0.1),
        (np.uint32(4_000_000_000), np.uint32, 4_000_000_000),
        (Buffer(1 << 40, 8), np.uint64, 1 << 40),
        (None, np.uint64, 0),
    ],
)
def test_arguments_keep_the_type_that_the_kernel_reads(argument: Argument, dtype: type, value: float) -> None:
    packed = pack(argument)
    assert (packed.dtype, packed.shape, packed.item()) == (np.dtype(dtype), (), value)


def test_an_int_that_does_not_fit_is_not_cut() -> None:
    with pytest.raises(OverflowError):
        pack(1 << 31)


def test_a_part_of_a_buffer_ends_where_the_buffer_ends() -> None:
    assert Buffer(1000, 64).at(24) == Buffer(1024, 40)


def test_a_device_names_itself() -> None:
    assert str(CudaInfo("Orin", (8, 7), True, (12, 6), 0)) == "Orin (sm_87, CUDA 12.6)"
