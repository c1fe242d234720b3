"""``jetspect device commission``: a unit that was just brought up is tested, and says how it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.device_doctor import show_finding
from jetspect.cli.device_slots import STATION
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.findings import Finding
from jetspect.errors import DeployError
from jetspect.runtime.config import load_station
from jetspect.runtime.doctor.commissioning import may_inspect, outcome, publish_outcome, read_outcome
from jetspect.runtime.doctor.examine import examine
from jetspect.runtime.doctor.patient import admit
from jetspect.runtime.doctor.registry import checks_for
from jetspect.runtime.publishing.commissioning_message import CommissioningMessage

OUTCOME = Path("/var/lib/jetspect/first-boot.json")


def commission(
    station: Annotated[Path, typer.Option(help="Station file.")] = STATION,
    out: Annotated[Path, typer.Option(help="Where the outcome is kept.")] = OUTCOME,
    publish: Annotated[
        bool, typer.Option("--publish", help="Test nothing: publish the outcome that is kept, retained.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the doctor's checks on a station and keep the outcome; with --publish send it to the station's broker.

    The first boot of a provisioned unit does both. Run it as the user of the station, while the station is stopped. Exit code 1
    when the station could not inspect; a broker that is away alone is no reason.

    Example: sudo -u jetspect jetspect device commission
    """
    config = load_station(station)
    if publish:
        told = publish_outcome(read_outcome(out), config)
        _keep(out, told)
    else:
        patient = admit(station)
        findings: list[tuple[str, Finding]] = []
        for name, finding in examine(checks_for(patient)):
            findings.append((name, finding))
            if not as_json:
                show_finding(name, finding)
        told = outcome(patient, config, findings)
        _keep(out, told)
    if as_json:
        print_json(told.model_dump(mode="json"))
    elif publish:
        console.print(f"published: {_sentence(told)}", markup=False)
    else:
        console.print(_sentence(told), style="bold green" if told.ok else "bold red", markup=False)
    if not may_inspect(told):
        raise typer.Exit(1)


def _sentence(message: CommissioningMessage) -> str:
    failed = [check.name for check in message.checks if check.verdict == "fail"]
    what = f"{message.host}: {message.bundle or 'no bundle'}, {message.engine} {message.precision}, jetspect {message.jetspect}"
    return f"{what}: {'FAILED: ' + ', '.join(failed) if failed else 'fit'}"


def _keep(path: Path, message: CommissioningMessage) -> None:
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(message.model_dump_json(indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error
