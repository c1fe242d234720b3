"""How a kernel launch is shaped: the grid for so many threads, and arguments as C passes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.cuda.base import Argument, Buffer

# Threads of a block, all along x: enough to hide latencies on every supported GPU, few enough for any register count.
BLOCK = 128
_MAX_YZ = 65535


def grid_of(threads: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the blocks for at least so many threads along x, and exactly so many along y and z.

    Raises
    ------
    InputError
        A count is below 1, or y or z is larger than CUDA's 65535.
    """
    x, y, z = threads
    if min(threads) < 1 or max(y, z) > _MAX_YZ:
        raise InputError(f"a launch needs 1 to {_MAX_YZ} blocks along y and z and 1 or more threads, got {threads}")
    return -(-x // BLOCK), y, z


def pack(argument: Argument) -> npt.NDArray[Any]:
    """Return an argument as the bytes that a kernel reads: an array of one value and no dimensions."""
    if isinstance(argument, np.generic):
        return np.array(argument)
    if argument is None or isinstance(argument, Buffer):
        return np.array(0 if argument is None else argument.address, np.uint64)
    return np.array(argument, np.int32 if isinstance(argument, int) else np.float32)
