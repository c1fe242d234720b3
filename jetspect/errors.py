"""Every error jetspect raises on purpose.

JetspectError
├── InputError            something the caller handed over is unusable (file, option, array)
│   ├── ImageError        an image file or frame
│   ├── DataSetError      a data set on disk
│   └── ConfigError       a station or training file; lists every fault
├── BundleError           a bundle cannot be trusted or read
│   ├── BundleIntegrityError   a file changed, is missing, is extra or leaves the bundle
│   ├── BundleVersionError     written by a newer jetspect
│   └── SignatureError         signature missing, malformed or wrong
├── EngineError           an engine cannot run a graph
│   ├── GoldenMismatchError    it runs, but does not reproduce the golden tiles
│   ├── EngineMissingError     the engine was not built on this device, or not for these settings
│   └── DeviceLostError        the GPU runs nothing any more until the process starts again
├── ExportError           a model cannot become a bundle
├── CalibrationError      a bundle cannot be quantised
├── TrainingError         a training run cannot start or go on
├── SourceError           a camera, folder or stream
├── PublishError          broker, outbox or evidence store
├── DeployError           a service or a slot cannot be set up, switched or removed
├── ArchiveError          the database of an archive
├── ProvisionError        what a device is flashed with cannot be made, or its first boot cannot go on
└── MissingDependencyError     a package or system part is not installed

A message says what, the rule, the value and what to do next, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence


class JetspectError(Exception):
    """Base of all errors raised on purpose. The CLI prints it as one line and exits with 2."""


class InputError(JetspectError):
    """Something the caller handed over is unusable."""


class ImageError(InputError):
    """An image file or a frame cannot be inspected as it is."""


class DataSetError(InputError):
    """A data set on disk is incomplete or inconsistent; ``faults`` holds one line for each fault.

    Parameters
    ----------
    faults
        Where the message names only the first of many; empty: the message is the one fault.
    """

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults) or (message,)


class ConfigError(InputError):
    """A settings file has faults; ``faults`` holds one line for each.

    Parameters
    ----------
    where
        The file, as the user wrote it.
    faults
        ``key: what is wrong`` lines.
    """

    def __init__(self, where: str, faults: list[str]) -> None:
        self.where = where
        self.faults = faults
        head = f"{where}: {len(faults)} fault{'s' if len(faults) != 1 else ''}"
        super().__init__("\n  ".join([head, *faults]) if len(faults) > 1 else f"{where}: {faults[0]}")


class BundleError(JetspectError):
    """A bundle cannot be read."""


class BundleIntegrityError(BundleError):
    """A file of the bundle changed, is missing, is extra or leaves the bundle."""


class BundleVersionError(BundleError):
    """The bundle was written by a newer jetspect than this one."""


class SignatureError(BundleError):
    """The bundle's signature is missing, malformed or does not fit the key."""


class EngineError(JetspectError):
    """An engine cannot load or run a graph."""


class GoldenMismatchError(EngineError):
    """An engine runs a graph but does not reproduce its golden tiles."""


class EngineMissingError(EngineError):
    """No engine was built on this device for what is asked."""


class DeviceLostError(EngineError):
    """The GPU runs nothing any more until the process starts again."""


class ExportError(JetspectError):
    """A model cannot become a bundle."""


class CalibrationError(JetspectError):
    """A bundle cannot be quantised."""


class TrainingError(JetspectError):
    """A training run cannot start or go on."""


class SourceError(JetspectError):
    """A camera, folder or stream cannot deliver frames."""


class PublishError(JetspectError):
    """The broker, the outbox or the evidence store failed."""


class DeployError(JetspectError):
    """A service or a slot of bundles cannot be set up, switched or removed."""


class ArchiveError(JetspectError):
    """The database of an archive cannot be used."""


class ProvisionError(JetspectError):
    """What a device is flashed with cannot be made, or its first boot cannot go on."""


class MissingDependencyError(JetspectError):
    """A package or a system part is not installed.

    Parameters
    ----------
    what
        The missing part, e.g. ``"torch"``.
    needed_for
        What the user was doing, e.g. ``"exporting a model"``.
    install
        The command that installs it.
    """

    def __init__(self, what: str, needed_for: str, install: str) -> None:
        super().__init__(f"{what} is needed for {needed_for} but is not installed; install it with: {install}")
