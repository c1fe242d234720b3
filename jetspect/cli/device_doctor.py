"""``jetspect device doctor``: would a station run here, and if not, what to type."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.findings import Finding
from jetspect.runtime.doctor.examine import examine, would_run
from jetspect.runtime.doctor.patient import admit
from jetspect.runtime.doctor.registry import checks_for

_MARK = {
    "ok": "[green]ok     [/]",
    "warn": "[yellow]warn   [/]",
    "fail": "[bold red]fail   [/]",
    "skipped": "[dim]skipped[/]",
}


def doctor(
    subject: Annotated[
        Path | None,
        typer.Argument(
            metavar="[BUNDLE|STATION]",
            help="Bundle (folder or .zip) or station file (.toml); without it the machine alone.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        bool,
        typer.Option("--beside", help="The station runs: leave out its cameras and its metrics port, which it holds."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check whether a station would run on this machine: each line has a verdict, the reason, and what to type to fix it.

    Cameras are opened, the broker is logged in to under another client id, golden tiles are run; nothing is published. A
    station that runs meanwhile holds its camera: stop it first, or give --beside. Run it as the user that runs the station.
    Exit code 1 when a line failed: then the station would not run.

    Example: jetspect device doctor station.toml
    """
    findings: list[tuple[str, Finding]] = []
    for name, finding in examine(checks_for(admit(subject), beside=beside)):
        findings.append((name, finding))
        if not as_json:
            show_finding(name, finding)
    good = would_run(finding for _, finding in findings)
    if as_json:
        print_json({"ok": good, "checks": [{"name": name, **asdict(finding)} for name, finding in findings]})
    if not good:
        raise typer.Exit(1)


def show_finding(name: str, finding: Finding) -> None:
    console.print(f"{_MARK[finding.verdict]}  {name:16}  {escape(finding.reason)}")
    if finding.fix:
        console.print(f"{'':27}[bold]{escape(finding.fix)}[/]")
