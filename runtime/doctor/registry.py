"""Which checks apply to what is examined, in the order in which a person would look."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from jetspect.device import link_checks, system_checks
from jetspect.device.findings import Finding, fail, ok, skipped
from jetspect.runtime.doctor import engine_checks, station_checks
from jetspect.runtime.doctor.patient import Patient
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings

_QUICK_S, _REACH_S, _ENGINE_S = 10.0, 30.0, 300.0


@dataclass(frozen=True)
class Check:
    """One line of the list: its name, what answers it, and how long that may take."""

    name: str
    run: Callable[[], Finding]
    limit_s: float = _QUICK_S


def checks_for(patient: Patient, *, beside: bool = False) -> Iterator[Check]:
    """Yield what applies: the machine always, then the bundle, then the station.

    Parameters
    ----------
    beside
        The station runs: what it holds (cameras, the port of its metrics) is left alone, and the lines say so.
    """
    info, root = patient.info, patient.root
    yield Check("python", partial(system_checks.check_python, info))
    yield Check("clock", partial(system_checks.check_clock, info))
    yield Check("disk space", partial(system_checks.check_space, info.root_space, "/"))
    yield Check("disk wear", partial(system_checks.check_wear, info))
    yield Check("power mode", partial(system_checks.check_power_mode, info))
    yield Check("heat", partial(system_checks.check_heat, root))
    if patient.fault:
        yield Check("station file", lambda: fail(patient.fault))
    yield from _of_the_model(patient)
    yield from _of_the_station(patient, beside)


def _of_the_model(patient: Patient) -> Iterator[Check]:
    on_gpu = patient.on_tensorrt or patient.kind == "onnxruntime-cuda"
    if patient.on_tensorrt or (not patient.kind and patient.info.board.is_jetson):
        yield Check("tensorrt", partial(engine_checks.check_tensorrt, patient), _REACH_S)
    if patient.on_tensorrt:
        yield Check("build memory", partial(system_checks.check_build_memory, patient.info))
    if on_gpu:
        yield Check("cuda", partial(engine_checks.check_cuda, patient), _REACH_S)
    if patient.bundle is not None or patient.config is not None:  # slots may be empty, which is a finding too
        yield Check("bundle", partial(engine_checks.check_bundle, patient), _REACH_S)
        yield Check("graph", partial(engine_checks.check_graph, patient), _REACH_S)
        yield Check("golden tiles", partial(engine_checks.check_golden, patient), _ENGINE_S)


def _of_the_station(patient: Patient, beside: bool) -> Iterator[Check]:
    config, root = patient.config, patient.root
    if config is None:
        return
    yield Check("station file", lambda: ok("every key is known and fits"))
    sources = config.sources
    for view, settings in sources.items():
        name = f"camera {view}".strip()
        if isinstance(settings, GigeSettings):
            yield Check(f"{name} network", partial(station_checks.check_gige_network, settings, root))
        look = _held if beside else partial(station_checks.check_camera, settings)
        yield Check(name, look, _REACH_S)
    if any(isinstance(s, GigeSettings) for s in sources.values()):
        yield Check("receive buffer", partial(link_checks.check_receive_buffer, root))
    if any(isinstance(s, GStreamerSettings) and "v4l2src" in s.pipeline for s in sources.values()):
        yield Check("usb autosuspend", partial(link_checks.check_usb_awake, root))
    for name, (folder, needed_mb) in station_checks.folders_of(patient).items():
        yield Check(f"{name} folder", partial(station_checks.check_folder, folder, needed_mb))
    if config.metrics is not None:
        yield Check("metrics", _held if beside else partial(station_checks.check_metrics, config.metrics))
    if config.broker is not None:
        nonce = secrets.token_hex(4)
        yield Check("broker", partial(station_checks.check_broker, config.broker, config, nonce), _REACH_S)


def _held() -> Finding:
    return skipped("the running station holds it")
