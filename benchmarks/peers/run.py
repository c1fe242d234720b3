"""The comparison: every peer at several settings on a frame that fits the memory whole, then the best ones on a large frame."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from jetspect.benchmarks.interleave import Ratio, interleave, ratio
from jetspect.benchmarks.peers.base import Contender, CountingEngine, Job, as_levels, as_model
from jetspect.benchmarks.peers.correctness import Correctness, compare
from jetspect.benchmarks.peers.ours import OURS, engine_alone, ours, whole_frame
from jetspect.errors import InputError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import U8, Engine
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.tiling import plan_tiles

PEERS = {"numpy": "numpy_loop", "monai": "monai_window", "sahi": "sahi_slices"}
_DEFECTS = 24  # on each frame that answers are compared on: many, so that some lie on seams
Told = Callable[[str], object]


@dataclass(frozen=True)
class PeerOptions:
    """What is compared on what.

    Attributes
    ----------
    reference_wh
        Size of the frames that settings are tried and answers compared on; they run whole through the engine too.
    peers
        Names out of ``PEERS``; empty takes those that are installed.
    """

    size_wh: tuple[int, int] = (5472, 3648)
    reference_wh: tuple[int, int] = (2048, 1536)
    reference_frames: int = 2
    tile_px: int | None = None
    peers: tuple[str, ...] = ()
    rounds: int = 5
    seed: int = 7


@dataclass(frozen=True)
class Trial:
    """One setting on the reference frames; ``as_good`` beside this project's answer."""

    peer: str
    settings: str
    tiles: int
    median_ms: float
    correctness: Correctness
    as_good: bool


@dataclass(frozen=True)
class Lap:
    """One setting on the large frame.

    Attributes
    ----------
    role
        ``ours``, ``limit``, ``as good`` (the fastest setting whose answer is as good), ``best answer`` (where none is), or
        ``fastest`` (whatever it answers).
    ratio
        Its time divided by ours, over the rounds.
    outside_engine
        Time outside the engine divided by the engine's.
    """

    peer: str
    settings: str
    role: str
    tiles: int
    times_ms: tuple[float, ...]
    ratio: Ratio
    outside_engine: float

    @property
    def median_ms(self) -> float:
        return median(self.times_ms)


@dataclass(frozen=True)
class PeerResult:
    """Everything measured; ``left_out`` says why a peer did not run."""

    engine: str
    tile_px: int
    halo_px: int
    options: PeerOptions
    trials: tuple[Trial, ...]
    laps: tuple[Lap, ...]
    versions: dict[str, str]
    left_out: dict[str, str]


def check_options(bundle: Bundle, options: PeerOptions) -> int:
    """Refuse what cannot work before anything runs; return the tile's edge in px.

    Raises
    ------
    InputError
        A model that is not tiled, a wrong tile, a frame smaller than a tile, a peer that is not known.
    """
    rules = bundle.manifest.tiling
    if rules.mode == "whole":
        raise InputError(
            f"bundle {bundle.manifest.name} sees whole frames and is never cut; use a bundle that is tiled"
        )
    tile = options.tile_px or rules.tile_px
    for size in (options.size_wh, options.reference_wh):
        plan_tiles((size[1], size[0]), tile_px=tile, halo_px=rules.halo_px, stride_px=rules.stride_px)
        if min(size) < tile:
            raise InputError(
                f"a frame of {size[0]} x {size[1]} px is smaller than a tile of {tile} px, so there is nothing to cut; give a "
                "larger size or a smaller --tile"
            )
    unknown = sorted(set(options.peers) - set(PEERS))
    if unknown:
        raise InputError(f"peer {', '.join(unknown)} is not known; use one of {', '.join(PEERS)}")
    if options.rounds < 1 or options.reference_frames < 1:
        raise InputError(
            f"1 round and 1 reference frame is the least, got {options.rounds} and {options.reference_frames}"
        )
    return tile


def bench_peers(bundle: Bundle, engine: Engine, options: PeerOptions, told: Told = lambda _: None) -> PeerResult:
    """Compare in one run on one engine, which stays open; errors as :func:`check_options`.

    Raises
    ------
    MissingDependencyError
        A peer that was asked for by name is not installed.
    """
    tile = check_options(bundle, options)
    counted = CountingEngine(engine)
    job = Job(bundle.manifest.at(engine.info.precision), counted, tile)
    known, left_out = _contenders(job, options.peers)
    trials = _try_all(job, [ours(job), *known], options, told)
    chosen = [(ours(job), "ours"), (engine_alone(job), "limit"), *_choose(known, trials)]
    return PeerResult(
        engine=str(engine.info),
        tile_px=tile,
        halo_px=job.halo_px,
        options=options,
        trials=trials,
        laps=_race(job, chosen, options, told),
        versions={
            p: importlib.metadata.version(p) for p in ("monai", "sahi") if p not in left_out and p in _ran(known)
        },
        left_out=left_out,
    )


def _contenders(job: Job, wanted: Sequence[str]) -> tuple[list[Contender], dict[str, str]]:
    found: list[Contender] = []
    left_out: dict[str, str] = {}
    for name in wanted or PEERS:
        try:
            found += importlib.import_module(f"jetspect.benchmarks.peers.{PEERS[name]}").candidates(job)
        except MissingDependencyError as error:
            if wanted:
                raise
            left_out[name] = str(error)
    return found, left_out


def _try_all(job: Job, contenders: list[Contender], options: PeerOptions, told: Told) -> tuple[Trial, ...]:
    """Check every setting's answers, and time it on the same frames, in turn."""
    parts = [
        render_part(options.seed + n, options.reference_wh, defects=_DEFECTS, whole_frame=True)
        for n in range(options.reference_frames)
    ]
    answers = [Correctness() for _ in contenders]
    tiles = [0] * len(contenders)
    for part in parts:
        image = as_model(job, part.image)
        whole = whole_frame(job, image)
        for k, contender in enumerate(contenders):
            job.engine.reset()
            scores = as_levels(contender.score(image))
            answers[k] += compare(scores, whole, job.manifest.output, part.mask)
            tiles[k] = job.engine.tiles
            told(f"answers of {contender.name}")
    images = [as_model(job, p.image) for p in parts]
    ways = {c.name: c.score for c in contenders}
    spent = interleave(ways, images * 2, warm_up=0, seed=options.seed, told=lambda: told("trying settings"))
    return tuple(
        Trial(c.peer, c.settings, n, median(spent[c.name]), answer, answer.as_good_as(answers[0]))
        for c, n, answer in zip(contenders, tiles, answers, strict=True)
    )


def _choose(known: list[Contender], trials: Sequence[Trial]) -> Iterator[tuple[Contender, str]]:
    """Yield each peer's fastest setting with an answer as good as ours, and its fastest one of all."""
    by_name = {(c.peer, c.settings): c for c in known}
    for peer in _ran(known).values():
        own = [t for t in trials if t.peer == peer]
        good = [t for t in own if t.as_good]
        fastest = min(own, key=lambda t: t.median_ms)
        if good:
            best, role = min(good, key=lambda t: t.median_ms), "as good"
        else:
            best, role = (
                min(own, key=lambda t: (t.correctness.missed + t.correctness.split, t.correctness.seam_px)),
                "best answer",
            )
        yield by_name[best.peer, best.settings], role
        if fastest is not best:
            yield by_name[fastest.peer, fastest.settings], "fastest"


def _faults(trial: Trial) -> tuple[int, int]:
    return trial.correctness.missed + trial.correctness.split, trial.correctness.seam_px


def _ran(known: list[Contender]) -> dict[str, str]:
    """Return the peers that run: the name they are asked for by -> the name they are shown by."""
    return {c.peer.split()[0].lower(): c.peer for c in known}


def _race(job: Job, chosen: list[tuple[Contender, str]], options: PeerOptions, told: Told) -> tuple[Lap, ...]:
    outside: dict[str, list[float]] = {c.name: [] for c, _ in chosen}
    tiles: dict[str, int] = {}

    def run(contender: Contender) -> Callable[[U8], object]:
        def score(image: U8) -> None:
            job.engine.reset()
            contender.score(image)
            tiles[contender.name] = job.engine.tiles
            outside[contender.name].append(job.engine.spent_ms)

        return score

    frames = (
        as_model(job, render_part(options.seed + 100 + n, options.size_wh).image) for n in range(options.rounds + 1)
    )
    spent = interleave(
        {c.name: run(c) for c, _ in chosen}, frames, seed=options.seed, told=lambda: told("racing on the large frame")
    )
    laps = []
    for contender, role in chosen:
        times, engine_ms = spent[contender.name], sum(outside[contender.name][1:])
        laps.append(
            Lap(
                peer=contender.peer,
                settings=contender.settings,
                role=role,
                tiles=tiles[contender.name],
                times_ms=tuple(round(t, 3) for t in times),
                ratio=ratio(times, spent[OURS]),
                outside_engine=float(np.sum(times)) / engine_ms - 1,
            )
        )
    return tuple(laps)
