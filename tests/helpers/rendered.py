"""A small data set of rendered parts, as ``evaluate`` and ``inspect`` read it."""

from __future__ import annotations

from pathlib import Path

import cv2

from jetspect.runtime.sources.synthetic import render_part

CLASSES = ("scratch", "dent", "stain")


def rendered_set(root: Path, count: int, size_wh: tuple[int, int] = (500, 400)) -> Path:
    """Write images and numbered masks of parts with defects of the demo model's classes."""
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for n in range(count):
        part = render_part(100 + n, size_wh, texture="brushed", defects=4)
        for kind, image in (("images", part.image), ("masks", part.mask.clip(max=len(CLASSES)))):
            assert cv2.imwrite(str(root / kind / f"part-{n}.png"), image)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root
