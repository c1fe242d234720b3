"""``jetspect device power``: how fast the device may run, and how to take a change back."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.power import set_power
from jetspect.device.power_modes import PowerMode, read_power_modes
from jetspect.device.rails import input_power_w
from jetspect.device.sensors import Sensors
from jetspect.errors import JetspectError

app = typer.Typer(help="Power modes of a Jetson, through nvpmodel and jetson_clocks.", no_args_is_help=True)


@app.command()
def show(as_json: JsonOption = False) -> None:
    """Show the power modes of this board, the one that is set, and what the module draws now.

    Example: jetspect device power show
    """
    power = read_power_modes()
    if not power.modes:
        raise JetspectError("this machine has no power modes: /etc/nvpmodel.conf, which a Jetson has, is not there")
    sensors = Sensors()
    sample = sensors.read()
    sensors.close()
    drawn_w = input_power_w(sample.power_w)
    if as_json:
        print_json(
            {
                "mode": _name(power.current),
                "modes": {str(m.number): m.name for m in power.modes},
                "default": power.default,
                "input_power_w": drawn_w,
                "clocks_mhz": dict(sample.clocks_mhz),
            }
        )
        return
    for mode in power.modes:
        notes = [
            word for word, told in (("set", mode == power.current), ("default", mode.number == power.default)) if told
        ]
        console.print(f"{mode.number}  {escape(mode.name):16} {', '.join(notes)}")
    clocks = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in sample.clocks_mhz.items())
    drawn = "" if drawn_w is None else f"{drawn_w:.1f} W"
    console.print("now: " + ("; ".join(filter(None, (drawn, clocks))) or "nothing is measured"))


@app.command(name="set")
def set_mode(
    mode: Annotated[str, typer.Argument(help="Name or number, as show lists them.", show_default=False)],
    clocks: Annotated[
        bool,
        typer.Option("--clocks", help="Hold all clocks at the mode's maximum too (jetson_clocks), until a reboot."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Set the power mode; it stays over a reboot. Says what it ran and how to take it back. Needs root.

    Example: sudo jetspect device power set MAXN --clocks
    """
    changed = set_power(mode, clocks=clocks)
    if as_json:
        names = {"before": _name(changed.before), "after": _name(changed.after)}
        print_json({**names, "changes": list(changed.changes), "did": list(changed.did), "undo": list(changed.undo)})
        return
    console.print(f"power mode: {_name(changed.before) or 'not told'} -> {_name(changed.after)}", markup=False)
    for line in changed.changes:
        console.print(f"  {line}", markup=False)
    for line in changed.did or ("nothing: it was set already",):
        console.print(f"  ran:  {line}", markup=False)
    for line in changed.undo:
        console.print(f"  undo: {line}", markup=False)


def _name(mode: PowerMode | None) -> str | None:
    return None if mode is None else mode.name
