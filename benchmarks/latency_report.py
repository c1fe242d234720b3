"""What ``jetspect bench latency`` says: percentiles, a histogram, a line of history, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jetspect.benchmarks.history import Record, Row, Series, make_record, thin
from jetspect.benchmarks.latency import Found
from jetspect.benchmarks.open_loop import Arrivals
from jetspect.benchmarks.page import Page, Table

QUANTILES = (50, 90, 99, 99.9, 100)
NAMES = ("p50", "p90", "p99", "p99.9", "longest")


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """Return the percentiles by name in ms; nothing without a sample."""
    if not samples:
        return {}
    return dict(zip(NAMES, (float(q) for q in np.percentile(samples, QUANTILES)), strict=True))


def histogram(samples: Sequence[float], bins: int = 40) -> list[dict[str, float]]:
    """Return counts in bins of equal ratio, since the tail is what counts."""
    if not samples:
        return []
    low, high = max(1e-3, min(samples)), max(1e-3, *samples)
    edges = np.geomspace(low, high * 1.0001 if high > low else low * 1.1, bins + 1)
    counts, _ = np.histogram(np.clip(samples, low, None), edges)
    return [
        {"from_ms": float(a), "to_ms": float(b), "count": int(n)}
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def as_dict(run: Arrivals) -> dict[str, Any]:
    return {
        "rate": run.rate,
        "seconds": run.seconds,
        "sent": run.sent,
        "lost": run.lost,
        "unknown": run.unknown,
        "ended_early": run.ended_early,
        "late_ms": run.late_ms,
        "trigger_to_puback_ms": quantiles(run.latency_ms),
        "trigger_to_outbox_ms": quantiles(run.recorded_ms),
    }


def as_record(name: str, run: Arrivals, found: Found | None, result: dict[str, Any]) -> Record:
    """Return the line of history; ``run`` is the one whose latencies count."""
    series, words = [], [f"{run.rate:.3g}/s"]
    at = f"{run.rate:.4g}/s" if found is None else "a share of the highest rate"
    if run.latency_ms:
        series = [
            Series(name=f"{name}, trigger to PUBACK at {at}", unit="ms", samples=thin(run.latency_ms)),
            Series(name=f"{name}, trigger to outbox at {at}", unit="ms", samples=thin(run.recorded_ms)),
        ]
        q = quantiles(run.latency_ms)
        words.append(f"trigger to PUBACK p50 {q['p50']:.1f} ms, p99 {q['p99']:.1f} ms")
    if found is not None and found.kept is not None:
        series.append(Series(name=f"{name}, highest rate", unit="/s", better="higher", samples=(found.kept.rate,)))
        words.insert(0, f"nothing dropped up to {found.kept.rate:.3g}/s for {found.kept.seconds:.0f} s; at")
    told = {**result, "run": as_dict(run), "histogram_ms": histogram(run.latency_ms)}
    if found is not None:
        told["search"] = {
            "kept_rate": None if found.kept is None else found.kept.rate,
            "dropped_rate": None if found.dropped is None else found.dropped.rate,
            "tries": [as_dict(each) for each in found.tries],
        }
    row = Row(what=f"{name}, end to end", measured=" ".join(words[:2]) + "".join(f", {w}" for w in words[2:]))
    return make_record("latency", series, rows=[row], result=told)


def rows(runs: Sequence[Arrivals]) -> list[list[str]]:
    """Return rate, sent, lost and percentiles of each run as words."""
    found = []
    for run in runs:
        q = quantiles(run.latency_ms)
        lost = ", ".join(f"{n} {cause}" for cause, n in run.lost.items()) or "0"
        found.append(
            [
                f"{run.rate:.4g}/s",
                str(run.sent),
                lost,
                *(f"{q[n]:.1f}" if q else "-" for n in NAMES),
                f"{run.late_ms:.1f}",
            ]
        )
    return found


HEAD = ("rate", "sent", "lost", *(f"{name} ms" for name in NAMES), "sent late, ms")


def notes(run: Arrivals, found: Found | None, waiting: int) -> list[str]:
    """Say what the numbers cannot. ``waiting``: frames that the station holds before it drops one."""
    said = []
    if run.late_ms > 20:
        said.append(f"the load was up to {run.late_ms:.0f} ms late, on the same cores; it counts as latency")
    if found is not None and found.kept is not None and found.kept.sent < 100:
        share = 100 * waiting / max(1, found.kept.sent - waiting)
        said.append(
            f"{found.kept.sent} parts in the run that was kept: up to {share:.0f} % of its rate may have gone into the queue; "
            "longer runs (--seconds) say it more exactly"
        )
    if run.unknown:
        said.append(f"{run.unknown} results were UNKNOWN though their frames were there; run the station with -v")
    if run.lost:
        said.append(f"{run.dropped} of {run.sent} parts were dropped at {run.rate:.3g}/s; latencies are of the others")
    return said


def make_page(name: str, lead: str, run: Arrivals, found: Found | None, said: Sequence[str]) -> Page:
    from jetspect.benchmarks.latency_plots import draw

    q = quantiles(run.latency_ms)
    numbers = [(f"{q[n]:.1f} ms", f"{n} at {run.rate:.3g}/s") for n in NAMES if q]
    if found is not None and found.kept is not None:
        numbers.insert(0, (f"{found.kept.rate:.3g}/s", f"nothing dropped for {found.kept.seconds:.0f} s"))
    runs = sorted((*(found.tries if found is not None else ()), run), key=lambda each: each.rate)
    return Page(
        title=f"Trigger to PUBACK of {name}",
        lead=lead,
        numbers=numbers,
        tables=[
            Table(
                "Runs",
                HEAD,
                rows(runs),
                frozenset([runs.index(run)]),
                "Arrivals come at their times whatever happens, and count from when they were due. Marked: the run above; "
                "those of the search end at their first loss.",
            )
        ],
        plots=draw(run, found),
        notes=said,
    )
