"""What can be wrong with PyCUDA and its device, in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jetspect.errors import DeviceLostError, EngineError, MissingDependencyError

_NO_DRIVER = (
    "no CUDA driver: libcuda.so.1 cannot be loaded ({}); on a Jetson flash JetPack, elsewhere install NVIDIA's driver"
)
# After these every call fails until the process starts again.
_LOST = (
    "illegal",
    "misaligned",
    "launch failure",
    "launch timed out",
    "uncorrectable",
    "assert",
    "hardware",
    "unknown error",
)


def import_driver() -> Any:
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "PyCUDA",
            "running on a CUDA device",
            "pip install 'jetspect[cuda]'  # needs nvcc: /usr/local/cuda/bin on the PATH",
        ) from error
    except ImportError as error:  # the package is there, the driver's library is not
        raise EngineError(_NO_DRIVER.format(error)) from error
    return driver


@contextmanager
def errors(to_do: str, *, lost: bool = False) -> Iterator[None]:
    """Turn PyCUDA's errors into ours; with ``lost`` whatever fails ends the device."""
    import pycuda.driver as driver

    try:
        yield
    except driver.MemoryError as error:
        raise EngineError(
            f"CUDA cannot {to_do}: {error}; close what else uses the GPU, or choose a smaller tile or batch"
        ) from error
    except driver.Error as error:
        if lost or any(word in str(error) for word in _LOST):
            raise DeviceLostError(
                f"CUDA cannot {to_do}: {error}; nothing runs on this GPU any more until the process starts again, see dmesg"
            ) from error
        raise EngineError(f"CUDA cannot {to_do}: {error}; see dmesg and nvidia-smi (tegrastats on a Jetson)") from error
