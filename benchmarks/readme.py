"""README's table of measurements, made from the JSON of the runs.

    python -m jetspect.benchmarks.readme            # writes between the two markers of README.md
    python -m jetspect.benchmarks.readme --check    # fails where that would change something

A run comes in where its file under ``benchmarks/results`` is a record (what ``--history`` writes, one to a file) with rows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from jetspect.benchmarks.history import Record
from jetspect.errors import InputError, JetspectError

BEGIN = "<!-- measured: python -m jetspect.benchmarks.readme -->"
END = "<!-- /measured -->"
ROOT = Path(__file__).resolve().parent.parent


def table(results: Path) -> str:
    """Return the table of every record in a folder; empty where there is none."""
    records = sorted(_records(results), key=lambda found: (found[1].bench, found[0].name))
    lines: list[str] = []
    for machine in dict.fromkeys(_machine(record) for _, record in records):
        lines += ["", f"On {machine}:", "", "| what | measured | command |", "|---|---|---|"]
        for path, record in records:
            if _machine(record) == machine:
                command = f"`{_cell(record.command)}` ([JSON](benchmarks/results/{path.name}))"
                lines += [f"| {_cell(row.what)} | {_cell(row.measured)} | {command} |" for row in record.rows]
    return "\n".join([*lines, ""]) if lines else ""


def updated(text: str, results: Path, where: str = "README.md") -> str:
    """Return the text with the table between the markers.

    Raises
    ------
    InputError
        There is something to show and no place for it, or the markers are not one pair.
    """
    made = table(results)
    begins, ends = text.count(BEGIN), text.count(END)
    if not begins and not ends and not made:
        return text
    if begins != 1 or ends != 1 or text.index(END) < text.index(BEGIN):
        raise InputError(
            f"{where} needs one line {BEGIN} and after it one line {END}, got {begins} and {ends}: add them"
        )
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{made}{END}{rest.split(END)[1]}"


def _records(results: Path) -> list[tuple[Path, Record]]:
    found = []
    for path in sorted(results.glob("*.json")):
        try:
            record = Record.model_validate_json(path.read_bytes())
        except ValidationError:
            continue  # a measurement with a form of its own: its row stands in the text
        if record.rows:
            found.append((path, record))
    return found


def _machine(record: Record) -> str:
    m = record.machine
    engines = [f"{name} {version}" for name, version in record.versions.items() if name not in ("numpy",)]
    memory = round(int(m.get("memory_mb", 0)) / 1024)
    return f"{m.get('model')}, {m.get('cores')} cores, {memory} GB, {', '.join(engines[:4])}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where the table is not up to date"
    )
    options = parser.parse_args(words)
    try:
        text = options.readme.read_text("utf-8")
        wanted = updated(text, options.results, str(options.readme))
        if options.check or wanted == text:
            if wanted != text:
                print(f"{options.readme} is not up to date; run python -m jetspect.benchmarks.readme", file=sys.stderr)
            return int(wanted != text)
        options.readme.write_text(wanted, "utf-8")
    except JetspectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.readme} cannot be used: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
