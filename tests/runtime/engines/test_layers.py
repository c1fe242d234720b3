"""The engine inspector's JSON in the shapes of TensorRT 8.6 to 11, and in none of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jetspect.runtime.engines.layers import LayerSummary, summarise


def told(*layers: dict[str, Any]) -> LayerSummary | None:
    return summarise(json.dumps({"Layers": list(layers)}))


def tensor(key: str, value: str) -> list[dict[str, Any]]:
    return [{"Name": "x", "Dimensions": [1, 32, 64, 64], key: value}]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        ({"LayerType": "CaskConvolution", "Weights": {"Type": "Int8", "Count": 9}}, "int8"),
        ({"LayerType": "CaskDeconvolutionV2", "Weights": {"Type": "Half", "Count": 9}}, "fp16"),
        ({"LayerType": "Fused", "ParameterType": "Convolution", "Weights": {"Type": "Float"}}, "fp32"),
        ({"LayerType": "conv", "Inputs": tensor("Format/Datatype", "Half")}, "fp16"),
        (
            {
                "LayerType": "correlation",
                "Inputs": tensor("Format/Datatype", "Thirty-two wide channel vectorized row major Int8 format"),
            },
            "int8",
        ),
        ({"LayerType": "CaskConvolution", "Inputs": [{"Name": "x", "Format": "NHWC8", "DataType": "Half"}]}, "fp16"),
        (
            {
                "LayerType": "kgen",
                "Weights": {"Type": "Int8"},
                "Metadata": "[ONNX Layer: /enc/Conv]\u001e[ONNX Layer: /a]",
            },
            "int8",
        ),
        ({"LayerType": "CaskConvolution", "Inputs": tensor("Format/Datatype", "BFloat16")}, "unknown"),
        ({"LayerType": "CaskConvolution"}, "unknown"),
        ({"LayerType": "CaskConvolution", "Inputs": ["a"], "Weights": 3}, "unknown"),
    ],
)
def test_a_convolution_is_counted_by_what_it_computes_in(layer: dict[str, Any], kind: str) -> None:
    summary = told(layer, {"LayerType": "Reformat", "Inputs": tensor("Format/Datatype", "Float")})
    assert summary is not None
    assert summary.model_dump() == {"layers": 2, "int8": 0, "fp16": 0, "fp32": 0, "unknown": 0, kind: 1}


def test_raw_control_characters_do_no_harm() -> None:
    text = '{"Layers": [{"LayerType": "conv", "Metadata": "a\x1fb", "Weights": {"Type": "Int8"}}]}'
    assert summarise(text) == LayerSummary(layers=1, int8=1, fp16=0, fp32=0, unknown=0)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1]", '{"Layers": {}}', '{"Layers": ["name only"]}', '{"layers": []}']
)
def test_another_shape_is_not_known(text: str) -> None:
    assert summarise(text) is None


def test_an_engine_without_convolutions_says_so() -> None:
    assert str(told({"LayerType": "Reformat"})) == "1 layers; convolutions: none seen"
