"""What a graph is made of: work per convolution, what stays in FP16 from the start, residual branches, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from jetspect.calibration.network import Network, Weighted
from jetspect.calibration.quantize import Plan, quantise, quantised_activations
from jetspect.errors import CalibrationError

U8 = npt.NDArray[np.uint8]
Sketch = type[Any]
TILE: U8 = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)


def by_name(network: Network, tile: U8 = TILE) -> dict[str, Weighted]:
    return {c.name.removeprefix("node_"): c for c in network.convolutions(tile)}


def test_work_and_channels_are_those_counted_by_hand(sketch: Sketch) -> None:
    """On 8 x 8 px: the stem sees 8 x 8, what follows 4 x 4, and the transposed one starts from 4 x 4."""
    drawing = sketch()
    x = drawing.conv(drawing.image, "stem", (3, 16))
    x = drawing.conv(x, "down", (16, 32), stride=2)
    x = drawing.conv(x, "group", (32, 64), group=4)
    x = drawing.conv(x, "up", (64, 32), 2, stride=2, transposed=True)
    x = drawing.conv(x, "up_group", (32, 16), 2, stride=2, group=2, transposed=True)
    found = by_name(Network(drawing.graph(drawing.conv(x, "head", (16, 2), 1))))
    assert list(found) == ["stem", "down", "group", "up", "up_group", "head"]
    assert {n: (c.channels_in, c.channels_out, c.group) for n, c in found.items()} == {
        "stem": (3, 16, 1),
        "down": (16, 32, 1),
        "group": (32, 64, 4),
        "up": (64, 32, 1),
        "up_group": (32, 16, 2),
        "head": (16, 2, 1),
    }
    assert {n: c.macs for n, c in found.items()} == {
        "stem": 8 * 8 * 3 * 16 * 9,
        "down": 4 * 4 * 16 * 32 * 9,
        "group": 4 * 4 * (32 // 4) * 64 * 9,
        "up": 4 * 4 * 64 * 32 * 4,
        "up_group": 8 * 8 * 32 * (16 // 2) * 4,
        "head": 16 * 16 * 16 * 2,
    }
    assert found["up"].op == "ConvTranspose" and found["stem"].data == drawing.image


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ((3, 16), (16, 16), {"head": "it makes the logits"}),
        ((4, 16), (16, 16), {"head": "it makes the logits"}),
        (
            (3, 8),
            (8, 16),
            {
                "one": "3 channels in and 8 out, below 16",
                "two": "8 channels in and 16 out, below 16",
                "head": "it makes the logits",
            },
        ),
        ((5, 16), (16, 16), {"one": "5 channels in and 16 out, below 16", "head": "it makes the logits"}),
    ],
)
def test_thin_ones_and_heads_stay_in_fp16_and_a_stem_of_an_image_does_not(
    sketch: Sketch, first: tuple[int, int], second: tuple[int, int], kept: dict[str, str]
) -> None:
    drawing = sketch(channels=first[0])
    x = drawing.conv(drawing.conv(drawing.image, "one", first), "two", second)
    network = Network(drawing.graph(drawing.conv(x, "head", (16, 1), 1)))
    tile = np.zeros((1, 8, 8, first[0]), np.uint8)
    assert {n: c.keep for n, c in by_name(network, tile).items() if c.keep} == kept


def test_few_channels_in_are_excused_at_the_image_only(sketch: Sketch) -> None:
    drawing = sketch()
    x = drawing.conv(drawing.conv(drawing.image, "narrow", (3, 3)), "later", (3, 16))
    found = by_name(Network(drawing.graph(drawing.conv(x, "head", (16, 1), 1))))
    assert found["later"].keep == "3 channels in and 16 out, below 16"


def test_every_convolution_that_reaches_the_answer_first_is_a_head(sketch: Sketch) -> None:
    drawing = sketch()
    body = drawing.conv(drawing.image, "body", (3, 16))
    heads = [drawing.conv(drawing.op("Relu", body), name, (16, 1), 1) for name in ("fine", "coarse")]
    network = Network(drawing.graph(drawing.op("Add", *heads)))
    assert network.heads == {"node_fine", "node_coarse"}


def test_blocks_are_modules_without_the_position_in_a_sequence(sketch: Sketch, unet: Network) -> None:
    names = {
        "model.encoder.0.3": "encoder.0",
        "model.stem.0": "stem.0",
        "model.layer1.0.conv2": "layer1.0.conv2",
        "model.up": "up",
        "encoder.blocks.1": "encoder.blocks",
        "head": "head",
    }
    drawing = sketch()
    for name in names:
        drawing.conv(drawing.image, name, (3, 16))
    bare = drawing.op("Conv", drawing.image, drawing.constant("onnx::Conv_12", np.ones((1, 3, 1, 1))))
    found = by_name(Network(drawing.graph(bare)))
    assert [c.block for c in found.values()] == [*names.values(), "onnx::Conv_12"]
    blocks = [c.block for c in unet.convolutions(np.zeros((1, 16, 16, 3), np.uint8))]
    assert blocks == ["encoder.0"] * 2 + ["encoder.1"] * 2 + ["upsample.0"] + ["decoder.0"] * 2 + ["head"]


def test_of_a_residual_add_the_identity_is_quantised_or_else_the_projection(residual: Network) -> None:
    adds = [n for n in residual.nodes if n.op_type == "Add" and residual.residual_branch(n) is not None]
    assert len(adds) == 2
    passed, projected = (residual.residual_branch(add) for add in adds)
    assert passed is not None and residual.makers[passed].op_type == "Relu"
    assert projected is not None and residual.makers[projected].input[1] == "model.shortcut.weight"


def test_other_additions_are_no_residual_ones(sketch: Sketch) -> None:
    drawing = sketch()
    x = drawing.conv(drawing.image, "a", (3, 16))
    y = drawing.conv(drawing.op("Relu", x), "b", (16, 16))
    adds = {
        "a constant": drawing.op("Add", x, drawing.constant("shift", np.ones((1, 16, 1, 1)))),
        "no convolution": drawing.op("Add", drawing.op("Relu", x), drawing.op("Relu", y)),
        "read elsewhere": drawing.op("Add", y, drawing.op("Relu", x)),
    }
    network = Network(drawing.graph(drawing.conv(drawing.op("Concat", *adds.values(), axis=1), "head", (48, 1), 1)))
    assert {why: network.residual_branch(network.makers[t]) for why, t in adds.items()} == dict.fromkeys(adds)
    assert network.residual_branch(network.makers[x]) is None


def test_a_batch_norm_behind_a_convolution_belongs_to_it(sketch: Sketch) -> None:
    drawing = sketch()
    x = drawing.op("Relu", drawing.conv(drawing.image, "a", (3, 16)))
    statistics = [drawing.constant(f"bn.{i}", np.ones(16)) for i in range(4)]
    y = drawing.op("BatchNormalization", drawing.conv(x, "b", (16, 16)), *statistics)
    added = drawing.op("Add", x, y)
    network = Network(drawing.graph(drawing.conv(added, "head", (16, 1), 1)))
    assert network.residual_branch(network.makers[added]) == x


def test_values_are_followed_back_through_pooling_and_moving(sketch: Sketch) -> None:
    drawing = sketch()
    x = drawing.op("Relu", drawing.conv(drawing.image, "a", (3, 16)))
    pooled = drawing.op("Identity", drawing.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    beside = drawing.op("Concat", pooled, pooled, axis=-3)
    drawing.op("Concat", pooled, pooled, axis=2)
    network = Network(drawing.graph(drawing.conv(beside, "head", (32, 1), 1)))
    assert (network.source(pooled), network.source(x), network.source("tiles_u8")) == (x, x, "tiles_u8")
    assert [n.output[0] for n in network.concats()] == [beside]


def test_a_graph_that_is_quantised_already_is_refused(unet: Network) -> None:
    nodes = [c.name for c in unet.convolutions(np.zeros((1, 16, 16, 3), np.uint8)) if not c.keep]
    ranges = dict.fromkeys(quantised_activations(unet, nodes), (0.0, 1.0))
    with pytest.raises(CalibrationError, match=r"quantised already \(QuantizeLinear .*\); calibrate the FP32 graph"):
        Network(quantise(unet, Plan(frozenset(nodes), ranges)))


def test_foreign_operators_and_graphs_without_convolutions_are_refused(sketch: Sketch) -> None:
    drawing = sketch()
    x = drawing.op("Gelu", drawing.conv(drawing.image, "a", (3, 16)), name="odd", domain="com.microsoft")
    with pytest.raises(CalibrationError, match=r"node node_odd is com\.microsoft\.Gelu; only operators of ONNX itself"):
        Network(drawing.graph(x))
    with pytest.raises(CalibrationError, match="no convolution, so there is nothing to quantise"):
        empty = sketch()
        Network(empty.graph(empty.image))


def test_weights_that_are_computed_are_refused(sketch: Sketch) -> None:
    drawing = sketch()
    weights = drawing.op("Neg", drawing.constant("raw", np.ones((16, 3, 1, 1))))
    x = drawing.op("Conv", drawing.image, weights, name="computed")
    network = Network(drawing.graph(x))
    with pytest.raises(CalibrationError, match="Conv node_computed computes its weights instead of holding them"):
        network.convolutions(TILE)


def test_nothing_is_changed_by_looking(unet: Network) -> None:
    unet.convolutions(np.zeros((1, 16, 16, 3), np.uint8))
    assert onnx.load_from_string(unet.graph) == unet.model
