"""A unit proves itself when it was brought up: the doctor's answers, kept as a file and published."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from jetspect import __version__
from jetspect.device.findings import Finding
from jetspect.errors import InputError, JetspectError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.doctor.patient import Patient
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.announce import announce
from jetspect.runtime.publishing.commissioning_message import CommissioningCheck, CommissioningMessage
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.topics import Topics

_BROKER = "broker"


def outcome(patient: Patient, config: StationConfig, findings: Iterable[tuple[str, Finding]]) -> CommissioningMessage:
    """Put what was found into the message."""
    checks = tuple(CommissioningCheck(name=n, verdict=f.verdict, reason=f.reason, fix=f.fix) for n, f in findings)
    try:
        bundle = None if patient.bundle is None else Bundle.open(patient.bundle)
    except JetspectError:  # a check says so
        bundle = None
    info = patient.info
    return CommissioningMessage(
        station=StationAddress(**config.station.model_dump()),
        at=utc_now(),
        ok=_no_failure(checks),
        jetspect=__version__,
        host=socket.gethostname(),
        bundle="" if bundle is None else f"{bundle.manifest.name} {bundle.manifest.version}",
        manifest_sha256=None if bundle is None else bundle.manifest_sha256,
        engine=config.engine.kind,
        precision=config.bundle.precision,
        device={
            "model": info.machine.model,
            "jetpack": info.board.jetpack,
            "l4t": info.board.l4t,
            "cuda": info.software.cuda,
            "tensorrt": info.software.tensorrt,
            "python": info.software.python.version,
        },
        checks=checks,
    )


def may_inspect(message: CommissioningMessage) -> bool:
    """Whether the station can start: results wait for a broker that is away, so that alone holds nothing up."""
    return _no_failure(check for check in message.checks if check.name != _BROKER)


def read_outcome(path: Path) -> CommissioningMessage:
    """Read what an earlier self-test found. Raises InputError where there is none."""
    try:
        return CommissioningMessage.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); the self-test comes first: jetspect device commission"
        ) from error
    except ValidationError as error:
        raise InputError(f"{path} is no outcome of a self-test; do it again: jetspect device commission") from error


def publish_outcome(message: CommissioningMessage, config: StationConfig) -> CommissioningMessage:
    """Publish what was found, retained, under a client id of its own, and return it as it went out.

    Who reads the message knows that the broker takes the login, whatever the self-test had found before.

    Raises
    ------
    PublishError
        The broker did not take it.
    """
    settings = config.broker
    if settings is None:
        raise InputError("the station file has no [broker] to publish to; add one, or leave --publish out")
    known = tuple(
        CommissioningCheck(name=c.name, verdict="ok", reason=f"{settings.where} took this report")
        if c.name == _BROKER and c.verdict == "fail"
        else c
        for c in message.checks
    )
    told = message.model_copy(update={"checks": known, "ok": _no_failure(known)})
    s = config.station
    topics = Topics(s.namespace, s.site, s.area, s.line, s.unit)
    own_id = settings.client_id or topics.leaf("station").replace("/", ".")
    announce(settings, f"{own_id}.commissioning", topics.commissioning, told.payload())
    return told


def _no_failure(checks: Iterable[CommissioningCheck]) -> bool:
    return all(check.verdict != "fail" for check in checks)
