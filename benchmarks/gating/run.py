"""The same frames in full, within the part's rectangle, and behind a first stage: time, and what each finds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

import numpy as np

from jetspect.benchmarks.gating.scenes import Scene, part_box, scene
from jetspect.benchmarks.gating.stage_one import brightness_graph, with_stage_one
from jetspect.benchmarks.interleave import Ratio, interleave, ratio
from jetspect.benchmarks.peers.base import CountingEngine
from jetspect.errors import InputError
from jetspect.evaluation.metrics import ObjectMatch, match_objects
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import U8, Engine
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.foreground import ForegroundSettings
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.results import Verdict
from jetspect.runtime.tiling import plan_tiles

FULL, REGION, STAGED = "full scan", "region of interest", "two stages"
OWN, MADE = "the bundle's", "brightness, made for this benchmark"
Told = Callable[[str], object]


@dataclass(frozen=True)
class GatingOptions:
    """What is measured; ``answer_frames`` are compared pixel by pixel before the clock starts."""

    size_wh: tuple[int, int] = (5472, 3648)
    covers: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    tile_px: int | None = None
    rounds: int = 5
    answer_frames: int = 2
    threads: int = 0
    seed: int = 7


@dataclass(frozen=True)
class GatingRow:
    """One way at one cover.

    Attributes
    ----------
    cover
        The part's share of the frame.
    tiles
        Run per frame, on average, of ``tiles_all``.
    speedup
        Frames/s divided by the full scan's, over the rounds.
    found, missed
        True defects that the full scan finds on the answer frames, and how many of them this way does not.
    changed_px
        Pixels of the part where its mask is another one than the full scan's.
    alarms_outside
        Components that lie off the part altogether.
    """

    way: str
    cover: float
    tiles: float
    tiles_all: int
    times_ms: tuple[float, ...]
    speedup: Ratio
    found: int
    missed: int
    changed_px: int
    alarms_outside: int

    @property
    def frames_per_s(self) -> float:
        return 1e3 / median(self.times_ms)


@dataclass(frozen=True)
class GatingResult:
    """Everything measured; ``stage_one`` says where the first stage comes from."""

    engine: str
    stage_one: str
    tile_px: int
    options: GatingOptions
    rows: tuple[GatingRow, ...]


def check_options(bundle: Bundle, options: GatingOptions) -> None:
    """Refuse what cannot work before anything runs.

    Raises
    ------
    InputError
        A model that is not tiled, a wrong tile, a cover that is no share, no round.
    """
    rules = bundle.manifest.tiling
    if rules.mode == "whole":
        raise InputError(
            f"bundle {bundle.manifest.name} sees whole frames, so no tile can be left out; use one that is tiled"
        )
    width, height = options.size_wh
    tile = options.tile_px or rules.tile_px
    plan_tiles((height, width), tile_px=tile, halo_px=rules.halo_px, stride_px=rules.stride_px)
    wrong = [c for c in options.covers if not 0.01 <= c <= 1]
    if wrong or not options.covers:
        raise InputError(f"the part covers 1 to 100 % of the frame, got {[f'{c:.0%}' for c in wrong] or 'nothing'}")
    if options.rounds < 1 or options.answer_frames < 1:
        raise InputError(f"1 round and 1 answer frame is the least, got {options.rounds} and {options.answer_frames}")


def bench_gating(bundle: Bundle, engine: Engine, options: GatingOptions, told: Told = lambda _: None) -> GatingResult:
    """Measure in one run on one engine, which stays open; errors as :func:`check_options`.

    Raises
    ------
    InputError
        A frame is not judged: the bundle's own first stage does not see a rendered part.
    MissingDependencyError
        onnx is not installed, and the bundle has no first stage of its own.
    """
    check_options(bundle, options)
    rows: list[GatingRow] = []
    with ExitStack() as opened:
        own = isinstance(engine, StagedEngine)
        second = CountingEngine(engine.defects if isinstance(engine, StagedEngine) else engine)
        if isinstance(engine, StagedEngine):
            first, staged = engine.foreground, bundle
        else:
            first = opened.enter_context(OnnxRuntimeEngine(brightness_graph(), threads=options.threads))
            staged = with_stage_one(bundle)
        both = StagedEngine(second, CountingEngine(first))
        for cover in options.covers:
            rows += _at(cover, bundle, staged, second, both, options, told)
    tile = options.tile_px or bundle.manifest.tiling.tile_px
    return GatingResult(str(engine.info), OWN if own else MADE, tile, options, tuple(rows))


def _at(
    cover: float,
    bundle: Bundle,
    staged: Bundle,
    engine: CountingEngine,
    both: StagedEngine,
    options: GatingOptions,
    told: Told,
) -> list[GatingRow]:
    plain = TilingSettings(tile_px=options.tile_px)
    region = TilingSettings(tile_px=options.tile_px, roi_xyxy=part_box(options.size_wh, cover))
    off = ForegroundSettings() if bundle.manifest.foreground is None else ForegroundSettings(enabled=False)
    one = both if bundle.manifest.foreground is not None else engine
    inspectors = {
        FULL: Inspector(bundle, one, InspectorSettings(tiling=plain, foreground=off)),
        REGION: Inspector(bundle, one, InspectorSettings(tiling=region, foreground=off)),
        STAGED: Inspector(staged, both, InspectorSettings(tiling=plain)),
    }
    answers = {name: np.zeros(4, np.int64) for name in inspectors}
    for n in range(options.answer_frames):
        shown = scene(options.seed + n, options.size_wh, cover)
        masks = {name: inspector.predict(shown.image).mask for name, inspector in inspectors.items()}
        for name, mask in masks.items():
            answers[name] += _answer(masks[FULL], mask, shown)
            told(f"answers at {cover:.0%} cover")
    tiles: dict[str, list[int]] = {name: [] for name in inspectors}

    def run(name: str) -> Callable[[U8], None]:
        def inspect(image: U8) -> None:
            seen = inspectors[name].inspect(Frame(image, name))
            if seen.verdict is Verdict.UNKNOWN:
                raise InputError(f"{name} at {cover:.0%} cover does not judge the frame: {seen.reasons[0]}")
            tiles[name].append(seen.tiles)

        return inspect

    frames = (scene(options.seed + 100 + n, options.size_wh, cover).image for n in range(options.rounds))
    times = interleave(
        {name: run(name) for name in inspectors},
        frames,
        warm_up=0,  # the answers were it
        seed=options.seed,
        told=lambda: told(f"{cover:.0%} cover"),
    )
    return [
        GatingRow(
            way=name,
            cover=cover,
            tiles=float(np.mean(tiles[name])),
            tiles_all=max(tiles[FULL]),
            times_ms=tuple(round(t, 3) for t in times[name]),
            speedup=ratio(times[FULL], times[name]),
            found=int(answers[name][0]),
            missed=int(answers[name][1]),
            changed_px=int(answers[name][2]),
            alarms_outside=int(answers[name][3]),
        )
        for name in inspectors
    ]


def _answer(full: U8, mask: U8, shown: Scene) -> tuple[int, int, int, int]:
    """Return found by the full scan, missed of these, other pixels on the part, and components off it."""
    truth = shown.truth > 0
    before, after = (match_objects(m > 0, truth) for m in (full, mask))
    missed = sum(a.found and not b.found for a, b in zip(before.objects, after.objects, strict=True))
    left, top, right, bottom = shown.part_xyxy
    place = slice(top, bottom), slice(left, right)
    part = np.zeros(mask.shape, bool)
    part[place] = True
    outside = _off(match_objects(mask > 0, part))
    return sum(o.found for o in before.objects), missed, int((full[place] != mask[place]).sum()), outside


def _off(match: ObjectMatch) -> int:
    return match.said - match.right
