"""``jetspect bench``: how fast a bundle's graphs, and everything around them, are on this machine."""

from __future__ import annotations

from typing import Any

import typer

from jetspect.cli.lazy import Lazy, LazyGroup


class _Bench(LazyGroup):
    """``jetspect bench BUNDLE`` means ``jetspect bench graphs BUNDLE``."""

    table = (
        Lazy(
            "compare",
            "jetspect.cli.bench_compare:compare",
            "Compare two measurements by their raw samples. Exit code 1 where B is slower in anything.",
        ),
        Lazy(
            "tiles",
            "jetspect.cli.bench_tiles:tiles",
            "Measure time and memory of every tile size x batch x precision x engine, and recommend one.",
            cls="Spread",
        ),
        Lazy(
            "latency",
            "jetspect.cli.bench_latency:latency",
            "Measure a station from trigger to PUBACK, and the highest rate at which it drops nothing.",
        ),
        Lazy(
            "startup",
            "jetspect.cli.bench_startup:startup",
            "Measure cold starts of jetspect inspect and of a station, in fresh processes, to the first verdict, "
            "by phase.",
        ),
        Lazy(
            "memory",
            "jetspect.cli.bench_memory:memory",
            "Measure the peak memory of inspections beside frame, score map and engine, and memory and open files "
            "over many frames.",
        ),
        Lazy(
            "engines",
            "jetspect.cli.bench_engines:engines",
            "Try every engine of this machine on the same tiles, each proven by the golden ones, and remember the "
            "fastest.",
        ),
        Lazy(
            "peers",
            "jetspect.cli.bench_peers:peers",
            "Compare with MONAI, SAHI and a plain NumPy loop: same engine, same frames, in one run, in turn; "
            "answers beside speed.",
        ),
        Lazy(
            "gating",
            "jetspect.cli.bench_gating:gating",
            "Measure what a region of interest and a first stage save, at several sizes of the part, and what "
            "they miss.",
        ),
        Lazy(
            "model",
            "jetspect.cli.bench_model:model",
            "Set every stage beside what memory and engine could do at best here, and predict other tiles from "
            "one that is measured.",
        ),
        Lazy(
            "graphs",
            "jetspect.cli.bench_graphs:graphs",
            "Time the graphs of a bundle on the same tile, in turn, and compare each with FP32.",
        ),
        Lazy(
            "publish",
            "jetspect.cli.bench_publish:publish",
            "Measure how many results a second go through outbox and broker, and how long one takes from verdict "
            "to PUBACK.",
        ),
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["graphs", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Bench,
    help="Measure this machine: the graphs of a bundle (jetspect bench BUNDLE), or the publishing.",
    no_args_is_help=True,
)
