"""What is examined: this machine, and a bundle or a station where one is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jetspect.device.files import ROOT
from jetspect.device.info import DeviceInfo, device_info
from jetspect.errors import EngineError, InputError, JetspectError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.engines.trt_versions import parse_version, require_precision
from jetspect.runtime.judging import device_options
from jetspect.runtime.manifest import Precision
from jetspect.runtime.slots.deploy import slots_of

_WANTED: tuple[Precision, ...] = ("int8", "int8-trt8", "fp16", "fp32")


@dataclass(frozen=True)
class Patient:
    """What the checks look at; all of it is known before the first one runs.

    Attributes
    ----------
    config
        The station; None for a bundle or the machine alone, or where ``fault`` says why its file cannot be used.
    bundle
        Folder or .zip; None for the machine alone.
    kind, precision
        What the bundle is to run in; an empty kind: there is no bundle.
    """

    info: DeviceInfo
    root: Path = ROOT
    config: StationConfig | None = None
    bundle: Path | None = None
    public_key: Path | None = None
    kind: str = ""
    precision: Precision = "fp32"
    threads: int = 0
    options: DeviceOptions = field(default_factory=DeviceOptions)
    fault: str = ""

    @property
    def on_tensorrt(self) -> bool:
        """Whether a TensorRT engine is wanted, or would be the choice of ``auto``."""
        return self.kind == "tensorrt" or (self.kind == "auto" and self.info.board.is_jetson)


def admit(subject: Path | None, root: Path = ROOT) -> Patient:
    """Look at what is named. A station file with faults is a finding, not an error: the machine is examined all the same.

    Raises
    ------
    InputError
        There is no such file or folder.
    """
    info = device_info(root)
    if subject is None:
        return Patient(info, root)
    if not subject.exists():
        raise InputError(
            f"{subject} does not exist; name a bundle (folder or .zip) or a station file (.toml), or nothing"
        )
    if subject.is_dir() or subject.suffix == ".zip":
        kind = "tensorrt" if info.board.is_jetson else "onnxruntime"
        return Patient(info, root, bundle=subject, kind=kind, precision=_precision(subject, info, kind))
    try:
        config = load_station(subject)
        live = _live_bundle(config)
    except JetspectError as error:
        return Patient(info, root, fault=str(error))
    return Patient(
        info,
        root,
        config=config,
        bundle=live,
        public_key=config.bundle.public_key,
        kind=config.engine.kind,
        precision=config.bundle.precision,
        threads=config.engine.threads,
        options=device_options(config),
    )


def _live_bundle(config: StationConfig) -> Path | None:
    """Return the bundle that the station would start with; None where nothing was deployed yet."""
    if config.bundle.path is not None:
        return config.bundle.path
    folder = slots_of(config)
    live = folder.current()
    return None if live is None else folder.place(live)


def _precision(path: Path, info: DeviceInfo, kind: str) -> Precision:
    """Return the fastest graph of a bundle that this machine's TensorRT takes; FP32 on a processor."""
    if kind != "tensorrt":
        return "fp32"
    try:
        graphs = Bundle.open(path).manifest.graphs
        version = parse_version(info.software.tensorrt)
    except JetspectError:  # a check of its own says so
        return "fp32"
    for precision in _WANTED:
        try:
            require_precision(version, precision)
        except EngineError:
            continue
        if precision in graphs:
            return precision
    return "fp32"
