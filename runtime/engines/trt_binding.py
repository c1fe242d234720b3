"""TensorRT's Python package: found or explained, and its log routed into ours."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.engines.trt_versions import Version, parse_version

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)
_KEPT = 8
_INSTALL = (
    "sudo apt-get install python3-libnvinfer (JetPack; make the virtual environment with --system-site-packages), or "
    "pip install 'jetspect[tensorrt,cuda]' on a desktop GPU"
)
# What NVIDIA's libraries write when the driver is older than what they were built with (cudaErrorInsufficientDriver).
_DRIVER = ("error: 35", "error 35", "insufficient", "driver version")


def require_tensorrt() -> tuple[str, Version]:
    """Import TensorRT once; return its version as it is written and as integers.

    Raises
    ------
    MissingDependencyError
        The package is not installed.
    EngineError
        Its native libraries cannot be loaded, or it is too old.
    """
    try:
        importlib.import_module("tensorrt")
    except ModuleNotFoundError as missing:
        raise MissingDependencyError(missing.name or "tensorrt", "TensorRT engines", _INSTALL) from missing
    except (ImportError, OSError) as failed:
        raise EngineError(
            f"TensorRT is installed, but its libraries cannot be loaded ({failed}); on JetPack install them with: "
            "sudo apt-get install tensorrt"
        ) from failed
    import tensorrt as trt

    return trt.__version__, parse_version(trt.__version__)


class TrtLog:
    """TensorRT's messages, in our log, with the last errors kept for ours.

    One object serves a builder or a runtime and everything made from it, and must outlive them.
    """

    def __init__(self) -> None:
        import tensorrt as trt

        levels = {
            trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
            trt.ILogger.Severity.ERROR: logging.ERROR,
            trt.ILogger.Severity.WARNING: logging.WARNING,
            trt.ILogger.Severity.INFO: logging.INFO,
            trt.ILogger.Severity.VERBOSE: logging.DEBUG,
        }
        errors: list[str] = []

        class Routed(trt.ILogger):  # type: ignore[misc]  # Any without TensorRT
            def __init__(self) -> None:
                trt.ILogger.__init__(self)  # pybind11 refuses objects whose own constructor was not called by name

            def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
                level = levels.get(severity, logging.INFO)
                if level >= logging.ERROR:
                    errors.append(" ".join(msg.split()))
                    del errors[:-_KEPT]
                with held_back():
                    log.log(level, "%s", msg)

        held_back = self.holding_back
        self.interrupted = False
        self._errors = errors
        self.logger: trt.ILogger = Routed()

    @contextmanager
    def holding_back(self) -> Iterator[None]:
        """Let nothing through that is raised inside: TensorRT calls it from C++, where an exception ends the process.

        Ctrl-C is noted in ``interrupted``.
        """
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
        except Exception:
            log.exception("a message or a progress report of TensorRT could not be passed on")

    def take(self) -> list[str]:
        """Return the errors since the last call, each once."""
        taken = list(dict.fromkeys(self._errors))
        self._errors.clear()
        return taken

    def fail(self, what: str, next_step: str) -> NoReturn:
        """Raise what TensorRT said as an EngineError, with the step that its own words ask for where they are known."""
        said = self.take()
        because = "; ".join(said) or "TensorRT gives no reason"
        if any(mark in because.lower() for mark in _DRIVER):
            next_step = "the driver is older than this TensorRT: update JetPack, or the GPU driver"
        elif "out of memory" in because.lower() or "outofmemory" in because.lower():
            next_step = "the device is out of memory: close what else uses it, or take a smaller tile or batch"
        raise EngineError(f"{what}: {because}; {next_step}")
