"""What a TensorRT engine takes and returns, checked against what a jetspect engine has to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetspect.errors import EngineError

if TYPE_CHECKING:
    import tensorrt as trt

REBUILD = "build it again with jetspect build --rebuild"


@dataclass(frozen=True)
class Tensors:
    """Names of an engine's tensors; ``scores_shape`` is N, K, H, W of one run."""

    tiles: str
    scores: str
    scores_shape: tuple[int, int, int, int]
    decision: str | None


def check_tensors(engine: trt.ICudaEngine, shape: tuple[int, int, int, int]) -> Tensors:
    """Find tiles of N x H x W x C, scores and, where there is one, the decision.

    Raises
    ------
    EngineError
        A tensor is not uint8, or the shapes are none of ours.
    """
    import tensorrt as trt

    inputs: dict[str, tuple[int, ...]] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = engine.get_tensor_dtype(name)
        if dtype != trt.DataType.UINT8:
            raise EngineError(f"the engine's tensor {name} is {dtype}, a jetspect engine has uint8 only; {REBUILD}")
        side = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        side[name] = tuple(engine.get_tensor_shape(name))
    batch, height, width, _ = shape
    # By shape, not by place or name: what the engine does with memory is what counts.
    tiles = [name for name, got in inputs.items() if _fits(got, shape)]
    maps = [n for n, s in outputs.items() if len(s) == 4 and s[1] > 0 and _fits(s, (batch, s[1], height, width))]
    decisions = [name for name, got in outputs.items() if _fits(got, (batch, 1))]
    fits = len(tiles) == len(inputs) == len(maps) == 1 and len(outputs) == 1 + len(decisions) <= 2
    if not fits:
        took, gives = (", ".join(f"{n} {s}" for n, s in side.items()) or "nothing" for side in (inputs, outputs))
        raise EngineError(
            f"the engine takes {took} and returns {gives}; it should take {shape} and return scores "
            f"({batch}, K, {height}, {width}) and at most decisions ({batch}, 1); {REBUILD}"
        )
    classes = outputs[maps[0]][1]
    return Tensors(tiles[0], maps[0], (batch, classes, height, width), decisions[0] if decisions else None)


def _fits(got: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape of the engine, -1 where it is free, can be the wanted one."""
    return len(got) == len(wanted) and all(g in (w, -1) for g, w in zip(got, wanted, strict=True))
