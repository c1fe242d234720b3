"""Is B slower than A? Ratios of two measurements with confidence intervals from their raw samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetspect.benchmarks.history import Record, Series
from jetspect.errors import InputError

F64 = npt.NDArray[np.float64]
Statistic = Literal["median", "mean", "p90", "p99"]
Verdict = Literal["faster", "slower", "no difference", "too few samples"]
FEWEST = 5
_STATISTICS: dict[Statistic, Callable[[F64], F64]] = {
    "median": lambda values: np.asarray(np.median(values, axis=-1)),
    "mean": lambda values: np.asarray(np.mean(values, axis=-1)),
    "p90": lambda values: np.asarray(np.percentile(values, 90, axis=-1)),
    "p99": lambda values: np.asarray(np.percentile(values, 99, axis=-1)),
}


@dataclass(frozen=True)
class Comparison:
    """One series of two measurements.

    Attributes
    ----------
    a, b
        The statistic of each.
    ratio
        How many times better B is: above 1 where B takes less time, or has the higher rate.
    low, high
        Interval of the ratio; NaN with too few samples.
    runs
        How many runs of A and of B were drawn from. With one run each the interval does not know how runs differ.
    """

    name: str
    unit: str
    a: float
    b: float
    ratio: float
    low: float
    high: float
    paired: bool
    samples: tuple[int, int]
    runs: tuple[int, int]
    verdict: Verdict


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    *,
    statistic: Statistic = "median",
    margin: float = 0.0,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every series that both have.

    Bootstrap percentile intervals (Efron and Tibshirani, 1993, chapter 13). Neighbouring samples of a run depend on each
    other, so whole blocks are drawn (Politis and Romano, 1992); of several runs whole runs are drawn first. Where both have
    one run, measured on the same keys, pairs are drawn.

    Parameters
    ----------
    margin
        A difference up to this share counts as none.

    Raises
    ------
    InputError
        The two have no series in common, or a series has another unit.
    """
    ours, theirs = _by_name(a), _by_name(b)
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise InputError(
            f"nothing to compare: A measured {_told(ours)}, B {_told(theirs)}; take two runs of the same command"
        )
    rng = np.random.default_rng(seed)
    return [_one(name, ours[name], theirs[name], statistic, margin, level, resamples, rng) for name in shared]


def differences(a: Record, b: Record) -> list[str]:
    """Say what differs between two runs beside the code that is compared."""
    said = []
    for what, old, new in (
        *((key, a.machine.get(key), b.machine.get(key)) for key in sorted({*a.machine, *b.machine})),
        *((key, a.versions.get(key), b.versions.get(key)) for key in sorted({*a.versions, *b.versions})),
        ("command", a.command, b.command),
    ):
        if old != new:
            said.append(f"{what}: {'none' if old is None else old} and {'none' if new is None else new}")
    if abs(a.load_average - b.load_average) >= 1:
        said.append(f"load average: {a.load_average:.1f} and {b.load_average:.1f}")
    return said


def _one(
    name: str,
    a: list[Series],
    b: list[Series],
    statistic: Statistic,
    margin: float,
    level: float,
    resamples: int,
    rng: np.random.Generator,
) -> Comparison:
    units = {(s.unit, s.better) for s in (*a, *b)}
    if len(units) > 1:
        raise InputError(f"{name} is in {' and '.join(sorted(u for u, _ in units))}; the two cannot be compared")
    of = _STATISTICS[statistic]
    paired = len(a) == len(b) == 1 and _pairs(a[0], b[0])
    first, second = [np.array(s.samples) for s in a], [np.array(s.samples) for s in b]
    middle = _ratio(float(of(np.concatenate(first))), float(of(np.concatenate(second))), a[0].better)
    counts = sum(map(len, first)), sum(map(len, second))
    low = high = math.nan
    if min(counts) >= FEWEST:
        if paired:
            places = _drawn(len(first[0]), resamples, rng)
            olds, news = of(first[0][places]), of(second[0][places])
        else:
            olds, news = _resampled(first, of, resamples, rng), _resampled(second, of, resamples, rng)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = olds / news if a[0].better == "lower" else news / olds
        tail = (1 - level) / 2
        if np.isfinite(ratios).all():
            low, high = (float(q) for q in np.quantile(ratios, (tail, 1 - tail)))
    return Comparison(
        name=name,
        unit=a[0].unit,
        a=float(of(np.concatenate(first))),
        b=float(of(np.concatenate(second))),
        ratio=middle,
        low=low,
        high=high,
        paired=paired,
        samples=counts,
        runs=(len(a), len(b)),
        verdict=_verdict(low, high, margin),
    )


def _verdict(low: float, high: float, margin: float) -> Verdict:
    if math.isnan(low):
        return "too few samples"
    if low > 1 + margin:
        return "faster"
    return "slower" if high < 1 / (1 + margin) else "no difference"


def _ratio(a: float, b: float, better: str) -> float:
    over, under = (a, b) if better == "lower" else (b, a)
    return over / under if under else math.nan


def _pairs(a: Series, b: Series) -> bool:
    return bool(a.keys) and a.keys == b.keys and len(a.keys) == len(a.samples) == len(b.samples)


def _resampled(runs: list[F64], of: Callable[[F64], F64], resamples: int, rng: np.random.Generator) -> F64:
    if len(runs) == 1:
        return of(runs[0][_drawn(len(runs[0]), resamples, rng)])
    values = np.empty(resamples)
    for n in range(resamples):
        chosen = [runs[k] for k in rng.integers(0, len(runs), len(runs))]
        values[n] = of(np.concatenate([run[_drawn(len(run), 1, rng)[0]] for run in chosen]))
    return values


def _drawn(count: int, resamples: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return places of ``resamples`` circular block resamples: resamples x count."""
    block = max(1, round(count ** (1 / 3)))
    starts = rng.integers(0, count, (resamples, -(-count // block)))
    places = (starts[:, :, None] + np.arange(block)) % count
    return places.reshape(resamples, -1)[:, :count]


def _by_name(records: Sequence[Record]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for record in records:
        names = Counter(series.name for series in record.series)
        if twice := [name for name, n in names.items() if n > 1]:
            raise InputError(
                f"the {record.bench} run of {record.when} has {twice[0]} twice; it was not written by jetspect"
            )
        for series in record.series:
            found.setdefault(f"{record.bench}: {series.name}", []).append(series)
    return found


def _told(series: dict[str, list[Series]]) -> str:
    names = list(series)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
