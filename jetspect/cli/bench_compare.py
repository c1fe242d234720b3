"""``jetspect bench compare``: is the second measurement faster or slower than the first?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, cast, get_args

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.benchmarks.compare import Statistic, differences
from jetspect.benchmarks.compare import compare as judge
from jetspect.benchmarks.history import read_records
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError

_STYLE = {"faster": "green", "slower": "bold red", "no difference": "", "too few samples": "yellow"}


def compare(
    a: Annotated[
        str, typer.Argument(help="File that --history wrote; FILE#2 is its second line, FILE#-1 the last.", metavar="A")
    ],
    b: Annotated[str, typer.Argument(help="The same, compared with A.", metavar="B")],
    statistic: Annotated[str, typer.Option(help="median, mean, p90 or p99.")] = "median",
    margin: Annotated[float, typer.Option(min=0, max=10, help="A difference up to this share counts as none.")] = 0.02,
    level: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Of the intervals.")] = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Compare two measurements by their raw samples. Exit code 1 where B is slower in anything.

    Several lines of a file count as runs of the same measurement: take a few of each, in turn, and the intervals hold what
    differs from run to run. Of twenty equal series one is outside its 95 % interval by chance.

    Example: jetspect bench compare before.jsonl after.jsonl
    """
    if statistic not in get_args(Statistic):
        raise InputError(f"--statistic {statistic!r} is not known; use one of {', '.join(get_args(Statistic))}")
    old, new = read_records(a), read_records(b)
    rows = judge(old, new, statistic=cast(Statistic, statistic), margin=margin, level=level)
    notes = differences(old[-1], new[-1])
    slower = any(row.verdict == "slower" for row in rows)
    if as_json:
        print_json(
            {"a": a, "b": b, "statistic": statistic, "level": level, "differs": notes}
            | {"series": [{**asdict(r), "low": _defined(r.low), "high": _defined(r.high)} for r in rows]}
        )
        sys.exit(int(slower))
    table = Table("", "A", "B", "B against A", "")
    for row in rows:
        interval = "" if row.low != row.low else f" ({row.low:.2f} - {row.high:.2f})"
        table.add_row(
            escape(row.name),
            f"{row.a:.4g} {row.unit}",
            f"{row.b:.4g} {row.unit}",
            f"{row.ratio:.2f} x{interval}",
            row.verdict,
            style=_STYLE[row.verdict],
        )
    console.print(table)
    for note in notes:
        console.print(f"note: the two differ in {note}", markup=False)
    if len(old) == 1 or len(new) == 1:
        console.print("note: one run of a side says nothing of how runs differ; append more of them for safe intervals")
    sys.exit(int(slower))


def _defined(value: float) -> float | None:
    return None if value != value else value
