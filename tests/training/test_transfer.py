"""Defects move with their labels, inside the foreground, and leave everything else alone."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.errors import InputError
from jetspect.training.blending import alpha_blend, fade, poisson_blend
from jetspect.training.transfer import DefectPatch, TransferSettings, cut_defects, transfer_defects

U8 = npt.NDArray[np.uint8]
ALWAYS = TransferSettings(probability=1)


def worn(seed: int = 0, grey: bool = False, size: tuple[int, int] = (160, 200)) -> tuple[U8, U8]:
    """A bright surface with one dark round pit of class 2."""
    rng = np.random.default_rng(seed)
    image = rng.integers(150, 190, (*size, 3)).astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (100, 80), 9, 2, -1)
    image[mask > 0] = rng.integers(20, 50, (int((mask > 0).sum()), 3))
    return (np.ascontiguousarray(image[:, :, 1]) if grey else image), mask


def test_a_cut_patch_holds_its_defect_and_a_margin() -> None:
    image, mask = worn()
    (patch,) = cut_defects(image, mask, ALWAYS, origin="here")
    assert patch.mask.shape == patch.reach.shape == patch.image.shape[:2] == (39, 39)
    assert (patch.mask == 2).sum() == (mask == 2).sum()
    assert (patch.reach[patch.mask > 0] == 1).all() and patch.reach[0, 0] == 0 and patch.reach[0, 19] == 1
    assert (patch.image == image[61:100, 81:120]).all()
    assert not np.shares_memory(patch.image, image)


def test_neighbours_come_along_and_what_is_cut_off_or_too_large_stays() -> None:
    image, mask = worn()
    cv2.circle(mask, (125, 80), 5, 1, -1)  # its margin touches the other one's
    (patch,) = cut_defects(image, mask, ALWAYS)
    assert set(np.unique(patch.mask)) == {0, 1, 2}
    mask[:] = 0
    mask[0:10, 50:60] = 1
    assert cut_defects(image, mask, ALWAYS) == []
    mask[:] = 0
    mask[40:100, 40:160] = 1
    assert cut_defects(image, mask, ALWAYS.model_copy(update={"largest_px": 100})) == []
    assert cut_defects(image, np.zeros_like(mask), ALWAYS) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from(["none", "full", "half", "noise"]), st.floats(0, 1))
def test_what_changes_is_what_is_reported_inside_the_foreground(
    seed: int, grey: bool, kind: str, poisson: float
) -> None:
    rng = np.random.default_rng(seed)
    source, source_mask = worn(seed, grey)
    image, mask = worn(seed + 1, grey, (170, 260))
    foreground = {"none": None, "full": np.ones(mask.shape, np.uint8)}.get(kind, np.zeros(mask.shape, np.uint8))
    if kind == "half":
        foreground[:, 130:] = 1  # type: ignore[index]
    elif kind == "noise":
        foreground = (cv2.GaussianBlur(rng.random(mask.shape), (0, 0), 12) > 0.49).astype(np.uint8)
    before = image.copy(), mask.copy()
    patches = cut_defects(source, source_mask, ALWAYS)
    options = ALWAYS.model_copy(update={"poisson": poisson})
    done = transfer_defects(image, mask, foreground, patches, options, np.random.default_rng(seed))
    assert (image == before[0]).all() and (mask == before[1]).all(), "the originals are untouched"
    changed = (done.image != image) if grey else (done.image != image).any(axis=2)
    labelled = done.mask != mask
    allowed = np.ones(mask.shape, bool) if foreground is None else foreground > 0
    assert not (changed & ~allowed).any() and not (labelled & ~allowed).any()
    assert not (changed & (mask > 0)).any(), "existing defects stay as they were"
    assert set(np.unique(done.mask)) <= {0, 2} and (done.mask[mask > 0] == 2).all()
    boxes = np.zeros(mask.shape, bool)
    for p in done.pasted:
        left, top, right, bottom = p.box_xyxy
        boxes[top:bottom, left:right] = True
        new = labelled[top:bottom, left:right]
        assert new.any(axis=0).all() and new.any(axis=1).all(), "boxes are tight"
    assert not (labelled & ~boxes).any()
    if done.pasted:
        dark = done.image if grey else done.image.mean(axis=2)
        assert dark[labelled].mean() < 120 < dark[~labelled & (mask == 0)].mean(), "the label lies on the pit"
    again = transfer_defects(image, mask, foreground, patches, options, np.random.default_rng(seed))
    assert (again.image == done.image).all() and again.pasted == done.pasted


def test_a_full_foreground_lets_defects_go_anywhere() -> None:
    patches = cut_defects(*worn(), ALWAYS)
    image = np.full((120, 120, 3), 170, np.uint8)
    seen = np.zeros((120, 120), bool)
    for seed in range(300):
        full = np.ones((120, 120), np.uint8)
        seen |= transfer_defects(image, full * 0, full, patches, ALWAYS, np.random.default_rng(seed)).mask > 0
    assert seen[16:-16, 16:-16].all()


def test_probability_and_count_are_kept() -> None:
    patches = cut_defects(*worn(), ALWAYS)
    image, mask = np.full((300, 300, 3), 170, np.uint8), np.zeros((300, 300), np.uint8)
    half = TransferSettings(probability=0.5, most=2)
    counts = [
        len(transfer_defects(image, mask, None, patches, half, np.random.default_rng(s)).pasted) for s in range(200)
    ]
    assert set(counts) == {0, 1, 2}
    assert 0.4 < np.mean(np.array(counts) > 0) < 0.6
    never = TransferSettings(probability=0)
    assert transfer_defects(image, mask, None, patches, never, np.random.default_rng(0)).pasted == ()
    assert transfer_defects(image, mask, None, [], ALWAYS, np.random.default_rng(0)).pasted == ()
    nowhere = transfer_defects(image, mask, mask, patches, ALWAYS, np.random.default_rng(0))
    assert nowhere.pasted == () and (nowhere.image == image).all()


def test_poisson_takes_on_the_colours_around_and_alpha_keeps_the_defect() -> None:
    image, mask = worn()
    (patch,) = cut_defects(image, mask, ALWAYS)
    under = np.full_like(patch.image, 120)
    poisson = poisson_blend(under, patch.image, patch.reach, patch.mask)
    assert poisson is not None
    assert (poisson[patch.reach == 0] == 120).all()
    assert abs(float(poisson[(patch.reach > 0) & (patch.mask == 0)].mean()) - 120) < 8
    assert poisson[patch.mask > 0].mean() < 40
    alpha = alpha_blend(under, patch.image, patch.reach, patch.mask)
    assert (alpha[patch.reach == 0] == 120).all()
    shown = fade(patch.reach, patch.mask)
    assert (shown[patch.mask > 0] == 1).all() and (shown[patch.reach == 0] == 0).all()
    assert ((shown >= 0) & (shown <= 1)).all()


@pytest.mark.parametrize("size", [1, 3, 8, 14])
def test_patches_too_small_for_poisson_are_left_to_alpha(size: int) -> None:
    """OpenCV wears the mask away by three pixels: what is left over would not be pasted at all."""
    rng = np.random.default_rng(0)
    patch = rng.integers(0, 255, (size, size, 3)).astype(np.uint8)
    full = np.ones((size, size), np.uint8)
    assert poisson_blend(np.full_like(patch, 100), patch, full, full) is None
    tiny = DefectPatch(patch, full, full)
    image = np.full((60, 60, 3), 100, np.uint8)
    done = transfer_defects(image, image[:, :, 0] * 0, None, [tiny], ALWAYS, np.random.default_rng(1))
    assert done.pasted and {p.blending for p in done.pasted} == {"alpha"}


def test_what_does_not_fit_is_refused_or_left_out() -> None:
    image, mask = worn()
    patches = cut_defects(image, mask, ALWAYS)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="image and mask must be uint8 of one size"):
        cut_defects(image, mask[1:], ALWAYS)
    with pytest.raises(InputError, match=r"the foreground is \(5, 5\), the mask \(160, 200\)"):
        transfer_defects(image, mask, np.ones((5, 5), np.uint8), patches, ALWAYS, rng)
    with pytest.raises(InputError, match="does not fit an image"):
        transfer_defects(image[:, :, 0].copy(), mask, None, patches, ALWAYS, rng)
    small = np.full((20, 20, 3), 100, np.uint8)
    assert transfer_defects(small, small[:, :, 0] * 0, None, patches, ALWAYS, rng).pasted == ()
    with pytest.raises(ValueError, match="scale needs"):
        TransferSettings(scale=(1.4, 0.7))
