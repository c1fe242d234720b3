from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import ExportError
from jetspect.export.parity import measure_parity, require_parity
from jetspect.runtime.manifest import Parity

F32 = npt.NDArray[np.float32]
TILES = np.zeros((2, 1, 4, 3), np.uint8)


def constant(*values: float) -> F32:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_difference_and_masks_are_pooled_over_tiles_and_classes() -> None:
    """Class one at 0.5: 2 of 3 pixels agree; class two at 0.9: none is set. Twice, once per tile."""
    expected = np.concatenate([constant(0.9, 0.6, 0.4, 0.1), constant(0.8, 0, 0, 0)], axis=1)
    got = np.concatenate([constant(0.9, 0.6, 0.55, 0.1), constant(0.7, 0, 0, 0)], axis=1)
    parity = measure_parity(lambda _: expected, lambda _: got, TILES, [0.5, 0.9])
    assert parity.tiles == 2
    assert parity.max_abs == pytest.approx(0.15)
    assert parity.mask_iou == pytest.approx(2 / 3)


def test_two_empty_masks_agree() -> None:
    empty = constant(0, 0, 0, 0)
    assert measure_parity(lambda _: empty, lambda _: empty, TILES, [0.5]) == Parity(tiles=2, max_abs=0, mask_iou=1)


@pytest.mark.parametrize(
    ("precision", "max_abs", "iou", "passes"),
    [
        ("fp32", 1e-3, 0.999, True),
        ("fp32", 1.1e-3, 1.0, False),
        ("fp32", 0.0, 0.998, False),
        ("fp16", 0.02, 0.99, True),
        ("fp16", 0.021, 1.0, False),
    ],
)
def test_what_precision_does_not_explain_is_refused(precision: str, max_abs: float, iou: float, passes: bool) -> None:
    parity = Parity(tiles=1, max_abs=max_abs, mask_iou=iou)
    if passes:
        require_parity(parity, precision)
        return
    with pytest.raises(ExportError, match=f"the {precision} graph differs from the model: .* nothing was written"):
        require_parity(parity, precision)


def test_a_graph_that_answers_nan_does_not_pass() -> None:
    parity = Parity.model_construct(tiles=1, max_abs=float("nan"), mask_iou=1.0)
    with pytest.raises(ExportError, match="probability by nan"):
        require_parity(parity, "fp32")
