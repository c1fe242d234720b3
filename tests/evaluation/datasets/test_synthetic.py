from __future__ import annotations

import numpy as np

from jetspect.evaluation.datasets import SyntheticParts, open_dataset
from jetspect.evaluation.datasets.synthetic import GROUPS
from jetspect.runtime.sources.synthetic import CLASSES, render_part


def test_every_class_of_the_camera_belongs_to_one_group() -> None:
    assert sorted(member for members in GROUPS.values() for member in members) == sorted(CLASSES)


def test_splits_share_no_part() -> None:
    splits = [set(open_dataset("synthetic", None, s).ids) for s in ("train", "val", "test")]
    assert not splits[0] & splits[1] and not splits[0] & splits[2] and not splits[1] & splits[2]
    assert set(open_dataset("synthetic", None, "all").ids) == set.union(*splits)


def test_a_sample_is_the_rendered_part_with_grouped_classes() -> None:
    data = SyntheticParts("val", (256, 192))
    for index in (1, 2, 3):
        sample = data[index]
        seed = int(sample.sample_id.removeprefix("part-"))
        part = render_part(seed, (256, 192))
        assert np.array_equal(sample.image, part.image) and sample.mask is not None
        assert np.array_equal(sample.mask > 0, part.mask > 0)
        for value, members in enumerate(GROUPS.values(), 1):
            originals = [CLASSES.index(m) + 1 for m in members]
            assert np.array_equal(sample.mask == value, np.isin(part.mask, originals))


def test_every_fifth_part_is_clean() -> None:
    data = SyntheticParts("val", (128, 96))
    masks = [data[n].mask for n in range(10)]
    clean = [n for n, mask in enumerate(masks) if mask is not None and not mask.any()]
    assert {0, 5} <= set(clean)
