from __future__ import annotations

import numpy as np

from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.one_class import OneClass


class Three:
    name, classes, ids = "three", ("a", "b"), ("both", "clean", "unlabelled")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        image = np.zeros((1, 3), np.uint8)
        masks = (np.array([[0, 1, 2]], np.uint8), image, None)
        return Sample(self.ids[index], image, masks[index], "g")


def test_every_class_becomes_the_one_and_the_rest_stays() -> None:
    data = OneClass(Three(), "defect")
    assert (data.name, data.classes, list(data.ids), len(data)) == ("three", ("defect",), list(Three.ids), 3)
    masks = [data[n].mask for n in range(3)]
    assert [None if m is None else m.tolist() for m in masks] == [[[0, 1, 1]], [[0, 0, 0]], None]
    assert data[0].sample_id == "both" and data[0].group == "g"
