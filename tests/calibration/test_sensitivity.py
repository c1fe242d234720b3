"""Losses block by block are those of the whole graph, found faster; and what loses most goes back to FP16."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from jetspect.calibration.activations import Activations, open_session
from jetspect.calibration.judge import Judge, Quality
from jetspect.calibration.network import WEIGHTED, Network, Weighted
from jetspect.calibration.quantize import Plan, quantised_activations, residuals
from jetspect.calibration.ranges import Histogram
from jetspect.calibration.search import Found, give_back_one_more, search
from jetspect.calibration.sensitivity import (
    BlockLoss,
    Budget,
    Trial,
    blocks_of,
    concat_groups,
    live_tensors,
    merged,
    restore,
    share_concats,
    start_from,
    touched,
)
from jetspect.errors import CalibrationError
from jetspect.export.graph import TileGraph, float_twin, to_onnx

U8 = npt.NDArray[np.uint8]
KINDS = ("unet", "residual", "grouped")
ANY = Budget(1.0, 1.0, 0.0)


class Tried:
    """A trial of a network with everything that a search begins with."""

    def __init__(self, network: Network, judge: Judge, tiles: U8) -> None:
        self.network, self.trial = network, Trial(network, judge)
        self.convolutions = network.convolutions(tiles[:1])
        nodes = [c.name for c in self.convolutions if not c.keep]
        seen = Activations(network.graph, quantised_activations(network, nodes))(tiles)
        self.histograms = {name: Histogram() for name in seen}
        for name, values in seen.items():
            self.histograms[name].add(values)
        self.plan = Plan(frozenset(nodes), {t: (float(v.min()), float(v.max())) for t, v in seen.items()})
        self.blocks = blocks_of(self.convolutions, nodes)

    def spoiled(self, block: str) -> Plan:
        """The plan with an absurdly small range for what the first convolution of a block reads."""
        (_, nodes, _) = next(b for b in self.blocks if b[0] == block)
        (data,) = {c.data for c in self.convolutions if c.name == nodes[-1]}
        return Plan(self.plan.nodes, {**self.plan.ranges, data: (-1e-3, 1e-3)})


@pytest.fixture(scope="session")
def tried(networks: dict[str, Network], make_judge: Callable[..., Judge], tiles: U8) -> dict[str, Tried]:
    return {kind: Tried(network, make_judge(), tiles) for kind, network in networks.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_starts_in_the_middle_gives_the_same_answer(kind: str, tried: dict[str, Tried], tiles: U8) -> None:
    network = tried[kind].network
    exact = open_session(network.graph).run(None, {"tiles_u8": tiles[:2]})[0]
    sizes = []
    for node in [n for n in network.nodes if n.op_type in WEIGHTED]:
        cut = live_tensors(network, [node.name])
        made = [t for t in cut if t != "tiles_u8"]
        rest = start_from(network.graph, cut)
        feeds = {
            **Activations(network.graph, made)(tiles[:2]),
            **({"tiles_u8": tiles[:2]} if "tiles_u8" in cut else {}),
        }
        # What is fused differs with where the graph begins, and with it the last digits.
        assert np.abs(open_session(rest).run(None, feeds)[0] - exact).max() < 1e-5, node.name
        sizes.append(len(onnx.load_from_string(rest).graph.node))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 2  # at last the head and the Sigmoid


class SizedByShape(nn.Module):
    """Upsamples to the size of an earlier activation, so that the graph carries shapes beside what it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.body = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.body(functional.relu(self.down(x))))
        return functional.interpolate(self.head(y), size=x.shape[-2:], mode="bilinear", align_corners=False)


def test_shapes_are_not_cut_but_made_again(tiles: U8) -> None:
    torch.manual_seed(0)
    network = Network(
        float_twin(to_onnx(TileGraph(SizedByShape(), (100.0,) * 3, (60.0,) * 3), channels=3, stride_px=2))
    )
    exact = open_session(network.graph).run(None, {"tiles_u8": tiles[:1]})[0]
    for node in [n for n in network.nodes if n.op_type in WEIGHTED]:
        cut = live_tensors(network, [node.name])
        made = [t for t in cut if t != "tiles_u8"]
        feeds = {
            **Activations(network.graph, made)(tiles[:1]),
            **({"tiles_u8": tiles[:1]} if "tiles_u8" in cut else {}),
        }
        got = open_session(start_from(network.graph, cut)).run(None, feeds)[0]
        assert np.abs(got - exact).max() < 1e-5, node.name


def test_what_is_read_later_is_alive(tried: dict[str, Tried]) -> None:
    """From the decoder on, the skip connection and what comes up are needed, and nothing else."""
    network = tried["unet"].network
    (concat,) = network.concats()
    first = next(n.name for n in network.nodes if concat.output[0] in n.input)
    assert live_tensors(network, [first]) == (concat.output[0],)
    assert set(live_tensors(network, [concat.name])) == set(concat.input)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_alone_loses_what_the_whole_graph_says(kind: str, tried: dict[str, Tried]) -> None:
    one = tried[kind]
    losses = one.trial.ablate(one.plan, one.blocks)
    assert [(b.block, b.nodes, b.macs) for b in losses] == one.blocks
    for loss in losses:
        whole = one.trial.quality(one.plan.only(loss.nodes))
        assert dataclasses.astuple(loss.quality) == pytest.approx(dataclasses.astuple(whole), abs=1e-3), loss.block
    assert len({loss.quality.error_levels for loss in losses}) > 1


def test_what_reads_the_same_activation_sees_it_quantised_too(tried: dict[str, Tried]) -> None:
    """A residual block's first convolution reads the identity that its last one makes INT8 take in."""
    network = tried["residual"].network
    (add, identity), _ = residuals(network, tried["residual"].plan.nodes)
    node = next(n for n in network.nodes if n.name == add)
    last = network.makers[next(t for t in node.input if t != identity)]
    names = touched(network, [last.name])
    assert set(names) == {n.name for n in network.users[identity]} | {last.name}
    assert touched(network, []) == ()


def test_more_blocks_than_are_open_at_once_are_all_measured(
    tried: dict[str, Tried], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tried["unet"]
    together = one.trial.ablate(one.plan, one.blocks)
    monkeypatch.setattr("jetspect.calibration.sensitivity.TOGETHER", 2)
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr(one.trial, "_progress", lambda *step: steps.append(step))
    assert one.trial.ablate(one.plan, one.blocks) == together
    total = len(one.blocks) * len(one.trial.judge)
    done = [step for _, step, _ in steps]
    assert done == sorted(done) and steps[-1] == ("one block at a time", total, total)


def test_blocks_hold_what_is_quantised_and_shares_are_of_all_work(tried: dict[str, Tried]) -> None:
    one = tried["unet"]
    assert [b for b, _, _ in one.blocks] == ["encoder.0", "encoder.1", "upsample.0", "decoder.0"]
    assert sorted(n for _, nodes, _ in one.blocks for n in nodes) == sorted(one.plan.nodes)
    head = next(c for c in one.convolutions if c.keep)
    total = sum(c.macs for c in one.convolutions)
    assert sum(share for _, _, share in one.blocks) == pytest.approx(1 - head.macs / total)
    bare = [Weighted("a", "Conv", "one", "x", 16, 16, 1, 30, ""), Weighted("b", "Conv", "two", "x", 16, 16, 1, 10, "")]
    assert blocks_of(bare, ["b"]) == [("two", ("b",), 0.25)]


@pytest.mark.parametrize("block", ["encoder.1", "decoder.0"])
def test_a_block_that_was_spoiled_is_the_one_given_back(block: str, tried: dict[str, Tried]) -> None:
    one = tried["unet"]
    spoiled, budget = one.spoiled(block), Budget(0.02, 0.0, 0.0)
    assert not budget.holds(one.trial.fp32, one.trial.quality(spoiled))
    losses = one.trial.ablate(spoiled, one.blocks)
    plan, quality, given_back = restore(one.trial, spoiled, losses, budget)
    assert given_back == (block,)
    (nodes,) = [nodes for name, nodes, _ in one.blocks if name == block]
    assert plan.nodes == spoiled.nodes - set(nodes)
    assert budget.holds(one.trial.fp32, quality) and quality == one.trial.quality(plan)


def test_nothing_is_given_back_where_the_budget_holds_or_too_little_int8_would_stay(tried: dict[str, Tried]) -> None:
    one = tried["unet"]
    spoiled = one.spoiled("decoder.0")
    losses = one.trial.ablate(spoiled, one.blocks)
    kept = [restore(one.trial, spoiled, losses, b) for b in (ANY, Budget(0.02, 0.0, 0.95))]
    assert [(plan, given) for plan, _, given in kept] == [(spoiled, ()), (spoiled, ())]


def test_a_budget_is_for_iou_all_defects_and_small_ones() -> None:
    fp32, budget = Quality(0.8, 0.9, 0.7, 0.0, 0.0), Budget(0.01, 0.1)
    assert budget.holds(fp32, fp32) and budget.holds(fp32, Quality(0.79, 0.8, 0.6, 1.0, 99.0))
    for worse in (
        Quality(0.78, 0.9, 0.7, 0.0, 0.0),
        Quality(0.8, 0.7, 0.7, 0.0, 0.0),
        Quality(0.9, 0.9, 0.5, 0.0, 0.0),
    ):
        assert not budget.holds(fp32, worse)


def test_groups_with_something_in_common_become_one() -> None:
    a, b, c, d = (frozenset(g) for g in ("ab", "cd", "bc", "xy"))
    assert merged([a, b]) == (a, b)
    assert merged([a, b, d, c]) == (d, frozenset("abcd"))
    assert merged([]) == ()


def test_a_concatenation_shares_with_what_its_inputs_feed_elsewhere(tried: dict[str, Tried]) -> None:
    one = tried["unet"]
    (concat,) = one.network.concats()
    pooled = next(n.output[0] for n in one.network.nodes if n.op_type == "MaxPool")
    assert list(concat_groups(one.network, one.plan)) == [(concat.name, frozenset([concat.output[0], pooled]))]
    # Without the convolution behind the pooling, or behind the concatenation, there is nothing to share with.
    for data in (pooled, concat.output[0]):
        reader = next(n.name for n in one.network.nodes if n.input and n.input[0] == data and n.op_type in WEIGHTED)
        assert list(concat_groups(one.network, one.plan.without([reader]))) == []
    assert list(concat_groups(tried["residual"].network, tried["residual"].plan)) == []


def test_one_scale_is_taken_where_it_costs_little_only(tried: dict[str, Tried]) -> None:
    one = tried["unet"]
    ((name, group),) = concat_groups(one.network, one.plan)
    quality = one.trial.quality(one.plan)
    plan, got, decisions = share_concats(one.trial, one.plan, quality, 0.05)
    assert decisions == {name: True}
    assert plan.shared == (group,) and got == one.trial.quality(plan)
    assert share_concats(one.trial, one.plan, quality, -1.0) == (one.plan, quality, {name: False})


def test_a_network_that_answers_nan_is_refused(
    sketch: type[Any], make_judge: Callable[..., Judge], tried: dict[str, Tried]
) -> None:
    drawing = sketch()
    x = drawing.op("Log", drawing.conv(drawing.image, "a", (3, 16)))
    with pytest.raises(CalibrationError, match="the FP32 graph answers NaN or infinity on tile 0 of those to judge on"):
        Trial(Network(drawing.graph(drawing.conv(x, "head", (16, 1), 1))), make_judge())


@pytest.fixture(scope="module")
def found(tried: dict[str, Tried]) -> Found:
    one = tried["unet"]
    return search(one.trial, one.convolutions, one.histograms, Budget(0.02, 0.0, 0.0))


def test_a_search_takes_the_method_that_loses_least(tried: dict[str, Tried], found: Found) -> None:
    one = tried["unet"]
    assert set(found.methods) == {"min-max", "percentile", "mse", "entropy"}
    best = min(found.methods.values(), key=lambda q: one.trial.fp32.lost_by(q) + 1e-3 * q.error_levels)
    assert found.methods[found.method] == best
    assert [b.block for b in found.losses] == [b for b, _, _ in one.blocks]
    assert Budget(0.02).holds(one.trial.fp32, found.quality)
    alone = search(one.trial, one.convolutions, one.histograms, ANY, method="min-max")
    assert (alone.method, set(alone.methods), alone.given_back) == ("min-max", {"min-max"}, ())


def test_one_more_block_goes_back_until_too_little_would_stay(tried: dict[str, Tried], found: Found) -> None:
    one = tried["unet"]
    worst = max((b for b in found.losses if b.block not in found.given_back), key=lambda b: b.quality.error_levels)
    more = give_back_one_more(one.trial, found, ANY)
    assert more is not None and more.given_back == (*found.given_back, worst.block)
    assert more.plan.nodes == found.plan.nodes - set(worst.nodes)
    shift = found.threshold_shift
    assert more.quality == one.trial.quality_by_shift(more.plan, (shift,))[shift]
    moved = give_back_one_more(one.trial, dataclasses.replace(found, threshold_shift=60), ANY)
    assert moved is not None and moved.threshold_shift == 60
    assert moved.quality == one.trial.quality_by_shift(more.plan, (60,))[60] != one.trial.quality(more.plan)
    assert give_back_one_more(one.trial, found, Budget(0.0, 0.0, 0.999)) is None


def test_small_blocks_may_still_go_where_large_ones_may_not(tried: dict[str, Tried], found: Found) -> None:
    """The share of the work that must stay decides which blocks are asked."""
    smallest: BlockLoss = min(found.losses, key=lambda b: b.macs)
    work = sum(b.macs for b in found.losses if b.block not in found.given_back)
    more = give_back_one_more(tried["unet"].trial, found, Budget(0.0, 0.0, work - smallest.macs - 1e-9))
    assert more is not None and more.given_back[-1] == smallest.block
