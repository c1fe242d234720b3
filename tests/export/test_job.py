"""What cannot become a bundle is refused before any work is done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from jetspect.errors import ExportError
from jetspect.export.job import ExportJob, check_job
from jetspect.runtime.manifest import ClassSpec

Job = Callable[..., ExportJob]


def test_a_sound_job_passes(job: Job) -> None:
    check_job(job())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tiles": np.zeros((4, 64, 64, 3), np.float32)}, "tiles must be uint8 N x T x T x 1 or 3, got float32"),
        ({"tiles": np.zeros((4, 64, 32, 3), np.uint8)}, r"got uint8 \(4, 64, 32, 3\)"),
        ({"tiles": np.zeros((4, 64, 64, 4), np.uint8)}, r"got uint8 \(4, 64, 64, 4\)"),
        ({"golden": 5}, r"golden must be 1 to 4 \(the number of tiles\), got 5"),
        ({"golden": 0}, "golden must be 1 to 4"),
        ({"texture": np.zeros((256, 256), np.uint8)}, "texture must be uint8 H x W x 3 like the tiles"),
        ({"mean": (1.0,), "std": (1.0,)}, "one value for each of the 3 channels of the tiles, got 1 and 1"),
        ({"std": (1.0, 0.0, 1.0)}, "std above 0"),
        ({"mean": (1.0, float("nan"), 1.0)}, "mean and std must be finite"),
        ({"name": "Big Name"}, "name 'Big Name': String should match pattern"),
        ({"version": ""}, "version ''"),
        ({"open_px": 99}, "output.open_px 99: Input should be less than or equal to 15"),
        ({"classes": ()}, "output.classes"),
        ({"classes": (ClassSpec(name="a"), ClassSpec(name="a"))}, "class names must differ"),
    ],
)
def test_a_faulty_job_is_refused_in_one_line(job: Job, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        check_job(job(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_and_statistics_that_are_not_numbers_are_named(job: Job, value: float) -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    torch.nn.init.constant_(model[1].running_var, value)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"1\.running_var holds NaN or infinity; the training diverged"):
        check_job(job(model=model))
