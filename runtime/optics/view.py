"""The calibrated view of one camera as a file: lens, plane of the part, and how well both are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat

from jetspect.errors import ConfigError, InputError
from jetspect.runtime.optics.geometry import Geometry
from jetspect.runtime.publishing.message_base import Utc
from jetspect.runtime.settings import Settings, parse_settings

VERSION = 1
_NEEDS = "calibrate again with jetspect camera calibrate"


class BoardInfo(Settings):
    """The board that was seen."""

    kind: Literal["checkerboard", "charuco"]
    squares: tuple[int, int] = Field(description="Squares along and across")
    square_mm: FiniteFloat = Field(gt=0, description="Edge of one square")


class FitInfo(Settings):
    """How well a view fits what was seen."""

    reprojection_px: FiniteFloat = Field(ge=0, description="RMS between corners seen and computed, over all images")
    plane_rms_mm: FiniteFloat = Field(ge=0, description="RMS on the part, over the corners of the board that lay on it")
    plane_max_mm: FiniteFloat = Field(ge=0, description="The largest of them")
    images: tuple[str, ...] = Field(description="Names of the images it was computed from")
    plane_image: str = Field(description="The one that shows the board on the part")


class View(Geometry):
    """From pixels of the raw image to mm on the surface of the part.

    The origin is the centre of the top left pixel; x runs right and y down where the image's centre is.
    """

    version: Literal[1] = 1
    created: Utc
    board: BoardInfo
    fit: FitInfo

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises InputError where that fails."""
        draft = path.with_name(f".{path.name}.tmp")
        try:
            draft.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise InputError(f"view {path} cannot be written: {error.strerror or error}") from error


def load_view(path: Path) -> View:
    """Read a view. Raises ConfigError where it cannot be read, is damaged, or is of a newer version."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(str(path), [f"view cannot be read: {error.strerror or error}; {_NEEDS}"]) from error
    except ValueError as error:  # json's and that of UTF-8
        raise ConfigError(str(path), [f"is not a view, which is JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise ConfigError(str(path), ["is not a view: an object is needed"])
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ConfigError(
            str(path), [f"is a view of version {version}; this jetspect reads up to {VERSION}: update it"]
        )
    return parse_settings(data, View, where=str(path))
