"""``jetspect schema``: the contract with consumers as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError
from jetspect.runtime.publishing.compatibility import breaking_changes, broken_channels
from jetspect.runtime.publishing.contract import documents
from jetspect.runtime.publishing.topics import VERSION


def schema(
    out: Annotated[Path, typer.Option(help="Folder; the version gets a folder of its own in it.")] = Path("schemas"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where the files are not these.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write JSON Schemas and the AsyncAPI 3 document of everything that goes over MQTT.

    What is already there is only replaced by what is compatible with it: a message may gain fields that may be left out.

    Example: jetspect schema --out schemas
    """
    folder, made = out / VERSION, documents()
    kept = {name: _read(folder / name) for name in made}
    surplus = sorted(p.name for p in folder.glob("*.json") if p.name not in made)
    broken = [f"{name}: {line}" for name in made for line in _broken(folder / name, kept[name], made[name])]
    broken += [f"{name}: removed or renamed" for name in surplus]
    changed = sorted([name for name, text in made.items() if kept[name] != text] + surplus)
    if not check:
        if broken:
            raise InputError(
                f"{folder} holds promises that this jetspect breaks: {'; '.join(broken)}; "
                "keep the old fields, or raise VERSION in topics.py and publish both for a while"
            )
        _write(folder, made)
    if as_json:
        print_json({"folder": str(folder), "files": sorted(made), "changed": changed, "breaking": broken})
    else:
        for line in broken:
            console.print(f"breaks consumers: {line}", style="bold red", markup=False)
        verb = "differ; write them with: jetspect schema" if check else "written"
        console.print(f"{folder}: {len(made)} documents, {len(changed)} {verb if changed else 'changed'}", markup=False)
    if check and changed:
        raise typer.Exit(1)


def _broken(path: Path, old: str | None, new: str) -> list[str]:
    if old is None:
        return []
    compare = breaking_changes if path.name.endswith(".schema.json") else broken_channels
    try:
        return compare(json.loads(old), json.loads(new))
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no document of the contract ({error}); restore it from the repository") from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}; check its owner or choose another --out") from error


def _write(folder: Path, made: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from error
