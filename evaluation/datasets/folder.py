"""Any folder with ``images/`` and ``masks/``, or with masks beside the images (same name, ``.png``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jetspect.errors import DataSetError, ImageError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.splits import check_split, validation_groups
from jetspect.runtime.images import SUFFIXES, read_image

VALIDATION_SHARE = 0.2
_GREY_EDGE = 127


class MaskFolder:
    """Images with one binary mask each: a mask pixel above 127 is a defect, so that grey JPEG edges do not grow it.

    An own split stands in ``train/``, ``val/`` and ``test/`` sub-folders; without them ``train`` and ``val`` are
    divided by a hash of the file name and ``test`` is refused.

    Raises
    ------
    DataSetError
        An image has no mask, a mask has another size, or the split has no image.
    """

    name = "folder"
    classes = ("defect",)

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        own = {s: path / s for s in ("train", "val", "test") if (path / s).is_dir()}
        if own and split != "all" and split not in own:
            raise DataSetError(f"{path} has the splits {', '.join(own)}, not {split}")
        pairs = [pair for s, root in own.items() if split in (s, "all") for pair in _pairs(root)] or _pairs(path)
        if not own and split == "test":
            raise DataSetError(f"{path} has no test/ folder; use --split all, or put the test images into test/")
        if not own and split != "all":
            held_out = validation_groups({str(p[0].relative_to(path)): 1 for p in pairs}, VALIDATION_SHARE)
            pairs = [p for p in pairs if (str(p[0].relative_to(path)) in held_out) == (split == "val")]
        if not pairs:
            raise DataSetError(f"{path} holds no image with a mask for split {split}")
        self._pairs = sorted(pairs)
        self.ids: tuple[str, ...] = tuple(p[0].relative_to(path).as_posix() for p in self._pairs)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        image_path, mask_path = self._pairs[index]
        try:
            image, mask = read_image(image_path), read_image(mask_path)
        except ImageError as error:
            raise DataSetError(str(error)) from error
        mask = mask if mask.ndim == 2 else mask.max(axis=2)
        if mask.shape != image.shape[:2]:
            raise DataSetError(
                f"{mask_path} is {mask.shape[1]} x {mask.shape[0]} px, its image {image_path} "
                f"{image.shape[1]} x {image.shape[0]}; label it again"
            )
        label = (mask > _GREY_EDGE).astype(np.uint8)
        return Sample(self.ids[index], image, label, self.ids[index], image_path)


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    apart = (root / "images").is_dir()
    images, masks = (root / "images", root / "masks") if apart else (root, root)
    found = [p for p in sorted(images.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    pairs = []
    for path in found:
        if not apart and path.suffix.lower() == ".png":
            continue  # a mask
        candidates = [masks / path.relative_to(images).with_suffix(s) for s in (".png", path.suffix)]
        mask = next((c for c in candidates if c.is_file() and c != path), None)
        if mask is None:
            raise DataSetError(f"{path} has no mask; expected {candidates[0]} (white where the defect is)")
        pairs.append((path, mask))
    return pairs
