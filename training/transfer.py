"""Defect transfer: cut damage out of one image and blend it into another, with its label.

d-fine (Sheet Metal 2023) blends damaged regions into other images by Poisson (Perez, Gangnet and Blake, 2003, "Poisson Image
Editing") and alpha blending, inside the foreground only. Here a patch is a defect with a margin around it; the place is the
one, among a few at random, whose surroundings look most like those the patch comes from. Pure NumPy and OpenCV on uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from jetspect.errors import InputError
from jetspect.runtime.settings import Settings
from jetspect.training.blending import alpha_blend, poisson_blend

U8 = npt.NDArray[np.uint8]


class TransferSettings(Settings):
    """How often and how defects are transferred. Everything is drawn from the generator that is handed over."""

    probability: float = Field(0.5, ge=0, le=1, description="Share of images that get any")
    most: int = Field(3, ge=1, le=50, description="Defects per image at most; how many is drawn from 1 to this")
    poisson: float = Field(0.5, ge=0, le=1, description="Share blended by Poisson, the rest by alpha")
    margin_px: int = Field(10, ge=8, le=64, description="What comes along around a defect, and where it fades out")
    flip: bool = Field(True, description="Mirror half of them left to right")
    rotate_deg: float = Field(10.0, ge=0, le=180, description="Larger turns also turn the light on a relief")
    scale: tuple[float, float] = Field((0.7, 1.4), description="Smallest and largest zoom")
    places: int = Field(6, ge=1, le=64, description="Free places looked at; the most similar one is taken")
    largest_px: int = Field(512, ge=16, description="Defects that are wider or higher are not cut out")

    @model_validator(mode="after")
    def _ordered(self) -> TransferSettings:
        if not 0.25 <= self.scale[0] <= self.scale[1] <= 4:
            raise ValueError(f"scale needs 0.25 <= smallest <= largest <= 4, got {self.scale}")
        return self


@dataclass(frozen=True, eq=False)
class DefectPatch:
    """A defect, or several whose margins touch, cut out with its margin.

    Attributes
    ----------
    image
        uint8 h x w x C or h x w.
    mask
        uint8 h x w: 0 background, k class k - 1.
    reach
        uint8 h x w: 1 on the defect and its margin; all that may be blended in.
    origin
        Where it comes from, for people.
    """

    image: U8
    mask: U8
    reach: U8
    origin: str = ""


@dataclass(frozen=True)
class Pasted:
    """What was blended in: box of its labelled pixels (right and bottom exclusive), how, and from where."""

    box_xyxy: tuple[int, int, int, int]
    blending: Literal["poisson", "alpha"]
    origin: str


@dataclass(frozen=True, eq=False)
class Transferred:
    """New image and mask, and what was added; the originals are untouched."""

    image: U8
    mask: U8
    pasted: tuple[Pasted, ...] = ()


def cut_defects(image: U8, mask: U8, settings: TransferSettings, *, origin: str = "") -> list[DefectPatch]:
    """Cut every defect of an image out. Those cut off by the image's edge, or too large, are left."""
    _check(image, mask)
    m = settings.margin_px
    grown = cv2.dilate((mask > 0).astype(np.uint8), np.ones((2 * m + 1, 2 * m + 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8)
    patches = []
    for label in range(1, count):
        x, y, w, h = (int(v) for v in stats[label, :4])
        inside = x > 0 and y > 0 and x + w < mask.shape[1] and y + h < mask.shape[0]
        if not inside or max(w, h) - 2 * m > settings.largest_px:
            continue
        place = slice(y, y + h), slice(x, x + w)
        own = (labels[place] == label).astype(np.uint8)
        near = np.asarray(_rounded(mask[place] * own, m), np.uint8) & own
        patches.append(DefectPatch(image[place].copy(), mask[place] * own, near, origin))
    return patches


def transfer_defects(
    image: U8,
    mask: U8,
    foreground: U8 | None,
    patches: Sequence[DefectPatch],
    settings: TransferSettings,
    rng: np.random.Generator,
) -> Transferred:
    """Blend some defects into an image, inside its foreground and clear of the defects it has.

    Parameters
    ----------
    foreground
        uint8 H x W, 0 where nothing may be put; None allows the whole image.

    Raises
    ------
    InputError
        Image, mask, foreground or patches do not fit together.
    """
    _check(image, mask)
    if foreground is not None and foreground.shape != mask.shape:
        raise InputError(f"the foreground is {foreground.shape}, the mask {mask.shape}; both need one value per pixel")
    if not patches or rng.random() >= settings.probability:
        return Transferred(image, mask)
    new_image, new_mask = image.copy(), mask.copy()
    taken = np.zeros(mask.shape, np.uint8) if foreground is None else (foreground == 0).astype(np.uint8)
    taken |= cv2.dilate((mask > 0).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.uint8)
    pasted = []
    for _ in range(int(rng.integers(1, settings.most + 1))):
        source = patches[int(rng.integers(len(patches)))]
        if source.image.ndim != image.ndim:
            raise InputError(f"a patch of shape {source.image.shape} does not fit an image {image.shape}")
        patch = _vary(source, settings, rng)
        place = _find_place(new_image, taken, patch, settings.places, rng)
        wanted = bool(rng.random() < settings.poisson)
        if place is None or not patch.mask.any():
            continue
        blended = poisson_blend(new_image[place], patch.image, patch.reach, patch.mask) if wanted else None
        how: Literal["poisson", "alpha"] = "alpha" if blended is None else "poisson"
        if blended is None:  # alpha was drawn, or the patch is too small or flat for Poisson
            blended = alpha_blend(new_image[place], patch.image, patch.reach, patch.mask)
        new_image[place] = blended
        new_mask[place] = np.where(patch.mask > 0, patch.mask, new_mask[place])
        taken[place] |= patch.reach
        pasted.append(Pasted(_box(patch.mask, place), how, patch.origin))
    return Transferred(new_image, new_mask, tuple(pasted))


def _vary(patch: DefectPatch, settings: TransferSettings, rng: np.random.Generator) -> DefectPatch:
    """Mirror, turn and zoom a patch; image, mask and reach alike."""
    zoom = float(np.exp(rng.uniform(*np.log(settings.scale))))
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    flip = -1.0 if settings.flip and rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([flip * zoom, zoom])
    h, w = patch.mask.shape
    corners = np.abs(linear) @ np.array([w, h])
    size = int(np.ceil(corners[0])) + 2, int(np.ceil(corners[1])) + 2
    shift = (np.array(size) - 1) / 2 - linear @ ((np.array([w, h]) - 1) / 2)
    matrix = np.hstack([linear, shift[:, None]])
    image = cv2.warpAffine(patch.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask, reach = (cv2.warpAffine(m, matrix, size, flags=cv2.INTER_NEAREST) for m in (patch.mask, patch.reach))
    x, y, width, height = cv2.boundingRect(reach)
    place = slice(y, y + height), slice(x, x + width)
    mask = mask & np.where(reach > 0, 255, 0).astype(np.uint8)
    image, mask, reach = (np.ascontiguousarray(a[place], np.uint8) for a in (image, mask, reach))
    return DefectPatch(image, mask, reach, patch.origin)


def _find_place(
    image: U8, taken: U8, patch: DefectPatch, places: int, rng: np.random.Generator
) -> tuple[slice, slice] | None:
    """Return the free place whose rim looks most like the patch's, of ``places`` random ones; None where none is free."""
    h, w = patch.reach.shape
    rows, columns = taken.shape[0] - h, taken.shape[1] - w
    if rows < 0 or columns < 0:
        return None
    rim = (patch.reach > 0) & (patch.mask == 0)
    wanted = _look(patch.image, rim)
    best: tuple[float, tuple[slice, slice]] | None = None
    found = 0
    for _ in range(10 * places):
        y, x = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
        place = slice(y, y + h), slice(x, x + w)
        if (taken[place] & patch.reach).any():
            continue
        unlike = float(np.abs(_look(image[place], rim) - wanted).sum())
        if best is None or unlike < best[0]:
            best = unlike, place
        found += 1
        if found == places:
            break
    return None if best is None else best[1]


def _look(image: U8, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean and spread per channel; zeros for no pixels."""
    if not where.any():
        return np.zeros(2)
    pixels = image[where].reshape(int(np.count_nonzero(where)), -1)
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def _rounded(mask: U8, margin_px: int) -> U8:
    """Grow a mask by a disc, 0/1."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin_px + 1, 2 * margin_px + 1))
    return np.asarray(cv2.dilate((mask > 0).astype(np.uint8), disc), np.uint8)


def _box(mask: U8, place: tuple[slice, slice]) -> tuple[int, int, int, int]:
    x, y, w, h = cv2.boundingRect((mask > 0).astype(np.uint8))
    left, top = place[1].start + x, place[0].start + y
    return left, top, left + w, top + h


def _check(image: U8, mask: U8) -> None:
    if image.dtype != np.uint8 or mask.dtype != np.uint8 or image.shape[:2] != mask.shape:
        raise InputError(
            f"image and mask must be uint8 of one size, got {image.dtype} {image.shape} and {mask.dtype} {mask.shape}"
        )
