"""``jetspect device deploy``, ``slots`` and ``rollback``: bundles on a station that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.runtime.config import load_station
from jetspect.runtime.slots.deploy import deploy as bring
from jetspect.runtime.slots.deploy import roll_back, slots_of
from jetspect.runtime.slots.overview import SlotView, overview

if TYPE_CHECKING:
    from rich.progress import TaskID

STATION = Path("/etc/jetspect/station.toml")
StationOption = Annotated[Path, typer.Option("--station", help="Station file, with [bundle] slots.")]


def deploy(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    station: StationOption = STATION,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="ed25519 public key (PEM), instead of the station file's.")
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Go without a key, where the station file names none.")
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Only put it beside the live one, for [slots] shadow = true.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while the live bundle is on probation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle, build and prove its engine as this station runs it, and make it the live one; a station that runs
    takes it between two frames, and goes back by itself where it turns out worse than the one before.

    Run it as the user of the station. Whatever fails, the live bundle stays.

    Example: sudo -u jetspect jetspect device deploy pits-1.4.zip
    """
    config = load_station(station)
    with progress() as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(escape(what), total=total)
            bar.update(tasks[what], completed=done)

        done = bring(
            bundle,
            config,
            slots_of(config),
            public_key=public_key,
            unsigned=unsigned,
            force=force,
            shadow=shadow,
            show=show,
        )
    if as_json:
        print_json({"slot": done.slot, "fresh": done.fresh, **done.state.model_dump(mode="json", exclude={"record"})})
        return
    what = "looks on" if shadow else "is live"
    if not done.fresh:
        what = "was live already"
    console.print(
        f"[bold green]slot {done.slot} {what}[/]  {escape(done.state.bundle)}  {escape(done.state.signature)}"
    )
    console.print(done.state.golden, markup=False)


def slots(station: StationOption = STATION, as_json: JsonOption = False) -> None:
    """Show what lies in both slots, which one is live, how it does, and what happened last. Exit code 1 when the live one
    is damaged or nothing is deployed.

    Example: jetspect device slots
    """
    shown = overview(slots_of(load_station(station)))
    if as_json:
        print_json(shown.as_dict())
    else:
        table = Table("slot", "bundle", "deployed (UTC)", "last frames")
        for view in shown.slots:
            table.add_row(*_row(view))
        console.print(table)
        if shown.last is not None:
            reason = f": {shown.last.reason}" if shown.last.reason else ""
            what = shown.last.what.replace("_", " ")
            console.print(f"{shown.last.at:%Y-%m-%d %H:%M} UTC  {what}, slot {shown.last.slot}{reason}", markup=False)
    if not shown.healthy:
        raise typer.Exit(1)


def rollback(
    station: StationOption = STATION,
    force: Annotated[
        bool, typer.Option("--force", help="Also to a bundle that was deployed with --shadow; it goes on probation.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the bundle in the other slot the live one; a station that runs takes it between two frames.

    Example: sudo -u jetspect jetspect device rollback
    """
    happened = roll_back(slots_of(load_station(station)), "asked for by hand", by_hand=True, force=force)
    if as_json:
        print_json({"slot": happened.slot})
    else:
        console.print(f"slot {happened.slot} is live", style="bold green")


def _row(view: SlotView) -> list[str]:
    name = f"[bold green]{view.slot} live[/]" if view.live else view.slot
    if view.on_probation:
        name += ", on probation"
    if view.shadow:
        name += ", shadow"
    if view.fault:
        return [name, f"[bold red]{escape(view.fault)}[/]"]
    deployed = "" if view.deployed_at is None else f"{view.deployed_at:%Y-%m-%d %H:%M}"
    counts = f"{view.frames}: {view.nok} NOK, {view.unknown} UNKNOWN, {view.errors} errors"
    median = "" if view.latency_ms is None else f", {view.latency_ms:.1f} ms"
    return [name, escape(view.bundle), deployed, counts + median]
