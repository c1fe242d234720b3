"""Random crops: geometry and look changed together for image and mask. NumPy and OpenCV on uint8."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.training.config import AugmentSettings

U8 = npt.NDArray[np.uint8]


def warp_crop(
    image: U8,
    mask: U8,
    centre_xy: tuple[float, float],
    size_wh: tuple[int, int],
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> tuple[U8, U8]:
    """Cut a crop around a point with a random flip, turn, zoom and stretch; reflect what lies outside the image."""
    angle = np.deg2rad(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    if settings.quarter_turns:
        angle += rng.integers(4) * np.pi / 2
    zoom = np.exp(rng.uniform(-settings.scale, settings.scale))
    stretch = 1 + rng.uniform(-settings.stretch, settings.stretch)
    flip_x = -1 if settings.flip_x and rng.random() < 0.5 else 1
    flip_y = -1 if settings.flip_y and rng.random() < 0.5 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([flip_x * zoom * stretch, flip_y * zoom])
    shift = np.array(size_wh) / 2 - linear @ np.array(centre_xy)
    matrix = np.hstack([linear, shift[:, None]])
    warped = cv2.warpAffine(image, matrix, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    label = cv2.warpAffine(mask, matrix, size_wh, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.uint8, copy=False), label.astype(np.uint8, copy=False)


def change_look(image: U8, settings: AugmentSettings, rng: np.random.Generator) -> U8:
    """Change gamma, contrast, brightness, tint, sharpness and noise at random."""
    values = image.astype(np.float32)
    if rng.random() < 0.8:
        gamma = np.exp(rng.uniform(-settings.gamma, settings.gamma))
        values = 255 * (values / 255) ** np.float32(gamma)
        gain = 1 + rng.uniform(-settings.contrast, settings.contrast)
        values = (values - 128) * gain + 128 + rng.uniform(-settings.brightness, settings.brightness)
        if image.ndim == 3 and rng.random() < 0.4:
            values *= 1 + rng.uniform(-settings.tint, settings.tint, 3).astype(np.float32)
    if settings.blur_px > 0 and rng.random() < 0.25:
        sigma = rng.uniform(min(0.3, settings.blur_px), settings.blur_px)
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    if settings.noise > 0 and rng.random() < 0.35:
        values = values + rng.normal(0, rng.uniform(0, settings.noise), values.shape).astype(np.float32)
    return np.clip(values, 0, 255).astype(np.uint8)
