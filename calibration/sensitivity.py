"""Which blocks lose defects when they become INT8? Measured block by block on the graph, and put right at the least cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from jetspect.calibration.activations import F32, Activations, open_session
from jetspect.calibration.judge import Judge, Quality, Tally
from jetspect.calibration.network import Network, Weighted
from jetspect.calibration.quantize import Plan, drop_unused, quantise, quantised_activations
from jetspect.errors import CalibrationError

Progress = Callable[[str, int, int], None]
# Sessions that are open at once; each holds the weights from its block on.
TOGETHER = 8


@dataclass(frozen=True)
class BlockLoss:
    """What the network loses when this block alone is INT8.

    Attributes
    ----------
    macs
        Multiply-adds of the block, as a share of the network's.
    """

    block: str
    nodes: tuple[str, ...]
    macs: float
    quality: Quality


@dataclass(frozen=True)
class Budget:
    """What INT8 may lose against FP32 on the tiles to judge on, and how much of the work must stay in INT8."""

    iou: float = 0.005
    recall: float = 0.0
    least_int8: float = 0.8

    def holds(self, fp32: Quality, int8: Quality) -> bool:
        """Whether IoU and the defects found are within what may be lost."""
        small = fp32.small_recall - int8.small_recall
        found = max(fp32.recall - int8.recall, small)
        return fp32.iou - int8.iou <= self.iou + 1e-9 and found <= self.recall + 1e-9


class Trial:
    """Judges plans for one network: graphs that end in probabilities, FP32 between the Q/DQ pairs.

    Parameters
    ----------
    network
        The float twin of the bundle's FP32 graph.
    """

    def __init__(self, network: Network, judge: Judge, progress: Progress = lambda *_: None) -> None:
        self.network, self.judge, self._progress = network, judge, progress
        self._input = network.model.graph.input[0].name
        self.fp32 = self._measure_fp32()

    def quality(self, plan: Plan, what: str = "judging") -> Quality:
        """Run a plan's graph on every tile."""
        return self.quality_by_shift(plan, (0,), what)[0]

    def quality_by_shift(self, plan: Plan, shifts: Sequence[int], what: str = "thresholds") -> dict[int, Quality]:
        """Run a plan's graph once on every tile and judge it with thresholds moved by each of these steps of 1/255."""
        session, tallies = open_session(quantise(self.network, plan)), {shift: Tally() for shift in shifts}
        for index, tile in enumerate(self.judge.tiles):
            answer: F32 = session.run(None, {self._input: tile[None]})[0]
            for shift, tally in tallies.items():
                self.judge.add(tally, index, answer[0], shift_levels=shift)
            self._progress(what, index + 1, len(self.judge))
        return {shift: self.judge.quality(tally) for shift, tally in tallies.items()}

    def ablate(self, plan: Plan, blocks: Sequence[tuple[str, tuple[str, ...], float]]) -> tuple[BlockLoss, ...]:
        """Quantise one block at a time and measure what that loses.

        The part of the network before a block does what it does in FP32, so it runs once per tile for several blocks, and each
        block's graph starts from there.
        """
        losses: list[BlockLoss] = []
        for start in range(0, len(blocks), TOGETHER):
            losses += self._ablate(plan, blocks[start : start + TOGETHER], start, len(blocks))
        return tuple(losses)

    def _ablate(
        self, plan: Plan, blocks: Sequence[tuple[str, tuple[str, ...], float]], before: int, total: int
    ) -> Iterator[BlockLoss]:
        cuts = [live_tensors(self.network, touched(self.network, nodes)) for _, nodes, _ in blocks]
        suffixes = [
            open_session(start_from(quantise(self.network, plan.only(nodes)), cut))
            for (_, nodes, _), cut in zip(blocks, cuts, strict=True)
        ]
        wanted = sorted({tensor for cut in cuts for tensor in cut if tensor != self._input})
        prefix = Activations(self.network.graph, wanted) if wanted else None
        tallies = [Tally() for _ in blocks]
        for index, tile in enumerate(self.judge.tiles):
            known: dict[str, npt.NDArray[np.generic]] = {self._input: tile[None]}
            known |= prefix(tile[None]) if prefix is not None else {}
            for tally, cut, session in zip(tallies, cuts, suffixes, strict=True):
                answer: F32 = session.run(None, {t: known[t] for t in cut})[0]
                self.judge.add(tally, index, answer[0])
            self._progress(
                "one block at a time", before * len(self.judge) + (index + 1) * len(blocks), total * len(self.judge)
            )
        for (block, nodes, macs), tally in zip(blocks, tallies, strict=True):
            yield BlockLoss(block, nodes, macs, self.judge.quality(tally))

    def _measure_fp32(self) -> Quality:
        session, tally = open_session(self.network.graph), Tally()
        for index, tile in enumerate(self.judge.tiles):
            answer: F32 = session.run(None, {self._input: tile[None]})[0]
            if not np.isfinite(answer).all():
                raise CalibrationError(
                    f"the FP32 graph answers NaN or infinity on tile {index} of those to judge on; export the model again"
                )
            self.judge.set_reference(index, answer[0])
            self.judge.add(tally, index, answer[0])
            self._progress("FP32", index + 1, len(self.judge))
        return self.judge.quality(tally)


def blocks_of(convolutions: Iterable[Weighted], nodes: Iterable[str]) -> list[tuple[str, tuple[str, ...], float]]:
    """Return name, convolutions and share of the multiply-adds of every block that a plan may quantise."""
    chosen, everything = set(nodes), list(convolutions)
    total = sum(c.macs for c in everything)
    found: dict[str, list[Weighted]] = {}
    for c in everything:
        if c.name in chosen:
            found.setdefault(c.block, []).append(c)
    return [(b, tuple(c.name for c in cs), sum(c.macs for c in cs) / total) for b, cs in found.items()]


def restore(
    trial: Trial, plan: Plan, losses: Sequence[BlockLoss], budget: Budget
) -> tuple[Plan, Quality, tuple[str, ...]]:
    """Give blocks back to FP16 until the budget holds, those first that lose most for the work they save.

    Returns the plan, what it reaches, and the blocks that were given back. Ends where less than ``budget.least_int8`` of the
    work would stay in INT8, or no block is left that loses anything.
    """
    quality, given_back = trial.quality(plan, "all blocks in INT8"), []
    waiting = sorted(losses, key=lambda b: _worth(trial.fp32, b), reverse=True)
    work = sum(b.macs for b in losses)
    while waiting and not budget.holds(trial.fp32, quality):
        block = waiting.pop(0)
        if work - block.macs < budget.least_int8:
            continue
        attempt = plan.without(block.nodes)
        got = trial.quality(attempt, f"{block.block} in FP16")
        if trial.fp32.lost_by(got) < trial.fp32.lost_by(quality) or got.error_levels < quality.error_levels:
            plan, quality, work = attempt, got, work - block.macs
            given_back.append(block.block)
    return plan, quality, tuple(given_back)


def share_concats(
    trial: Trial, plan: Plan, quality: Quality, tolerance: float
) -> tuple[Plan, Quality, dict[str, bool]]:
    """Decide for every concatenation whether its inputs take one scale.

    With one scale TensorRT writes the inputs side by side as they are; with several it has to scale them anew. One scale is
    taken where it costs at most ``tolerance`` of IoU and no defect. Returns the plan, what it reaches, and the decisions.
    """
    decisions: dict[str, bool] = {}
    for name, group in concat_groups(trial.network, plan):
        attempt = Plan(plan.nodes, plan.ranges, merged((*plan.shared, group)))
        got = trial.quality(attempt, f"one scale for {name}")
        decisions[name] = (
            quality.iou - got.iou <= tolerance
            and got.recall >= quality.recall
            and got.small_recall >= quality.small_recall
        )
        if decisions[name]:
            plan, quality = attempt, got
    return plan, quality, decisions


def concat_groups(network: Network, plan: Plan) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each concatenation with the quantised activations that could share one scale: its own, and those of its inputs."""
    reads = {n.input[0] for n in network.nodes if n.name in plan.nodes}
    for concat in network.concats():
        inputs = set(concat.input)
        group = {t for t in reads if network.source(t) in inputs or network.source(t) == concat.output[0]}
        if len(group) > 1 and any(network.source(t) == concat.output[0] for t in group):
            yield concat.name, frozenset(group)


def merged(groups: Iterable[frozenset[str]]) -> tuple[frozenset[str], ...]:
    """Unite groups that have an activation in common."""
    result: list[frozenset[str]] = []
    for group in groups:
        common = [g for g in result if g & group]
        result = [g for g in result if not g & group] + [group.union(*common)]
    return tuple(result)


def touched(network: Network, nodes: Iterable[str]) -> tuple[str, ...]:
    """Return the nodes that see quantised values when these convolutions become INT8: whatever reads the same activations."""
    quantised = set(quantised_activations(network, nodes))
    return tuple(n.name for n in network.nodes if quantised & set(n.input))


def live_tensors(network: Network, nodes: Iterable[str]) -> tuple[str, ...]:
    """Return the float tensors from which everything can be computed from the first of these nodes on.

    What counts or holds shapes is not handed over but made again, from the float tensors that it is made of.
    """
    chosen = set(nodes)
    first = next(i for i, n in enumerate(network.nodes) if n.name in chosen)
    later = {o for n in network.nodes[first:] for o in n.output}
    todo = [t for n in network.nodes[first:] for t in n.input] + [o.name for o in network.model.graph.output]
    image, alive, seen = network.model.graph.input[0].name, set(), set()
    while todo:
        tensor = todo.pop()
        if tensor in seen or tensor in later or tensor in network.constants or not tensor:
            continue
        seen.add(tensor)
        if tensor == image or tensor in network.floats:
            alive.add(tensor)
        else:
            todo += network.makers[tensor].input
    return tuple(sorted(alive))


def start_from(graph: bytes, tensors: Sequence[str]) -> bytes:
    """Return the graph that takes these float tensors as inputs and leaves out what made them."""
    model = onnx.load_from_string(graph)
    known: Mapping[str, onnx.ValueInfoProto] = {i.name: i for i in model.graph.input}
    given = set(tensors)
    inputs = [known.get(t) or onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in tensors]
    copies = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in inputs]
    for index in reversed([i for i, n in enumerate(model.graph.node) if given & set(n.output)]):
        del model.graph.node[index]
    del model.graph.input[:]
    model.graph.input.extend(copies)
    del model.graph.value_info[:]
    drop_unused(model)
    data: bytes = model.SerializeToString()
    return data


def _worth(fp32: Quality, block: BlockLoss) -> float:
    """Rank a block: what it loses, with the mean error of the scores between equals, for the work it saves."""
    return (fp32.lost_by(block.quality) + 1e-3 * block.quality.error_levels) / max(block.macs, 1e-6)
