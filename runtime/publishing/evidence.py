"""Keep pictures of what was found: an overlay and crops, in a folder that never grows beyond its cap."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from jetspect.errors import PublishError
from jetspect.runtime.publishing.overlay import draw_overlay
from jetspect.runtime.publishing.result_message import EvidenceRef
from jetspect.runtime.results import Inspection
from jetspect.runtime.settings import LocalPath, Settings

log = logging.getLogger(__name__)
U8 = npt.NDArray[np.uint8]
# What this module writes and may delete: a count, a time, a frame's name, for crops a number. Foreign pictures stay.
_OURS = re.compile(r"(?:(\d{10,})-)?\d{8}T\d{12}-[A-Za-z0-9_.-]*\.jpg")


class EvidenceSettings(Settings):
    """``[evidence]``: which pictures are kept."""

    folder: LocalPath = Field(Path("evidence"), validate_default=True)
    max_mb: float = Field(2048.0, gt=0, description="Then the oldest pictures go")
    of: tuple[Literal["OK", "NOK", "UNKNOWN"], ...] = Field(("NOK", "UNKNOWN"), description="Verdicts to keep")
    quality: int = Field(90, ge=30, le=100, description="JPEG quality")
    max_crops: int = Field(8, ge=0, le=100, description="Crops per frame, highest peak first")
    margin_px: int = Field(32, ge=0, le=1000, description="Around a defect in its crop")
    overlay_px: int = Field(2048, ge=0, le=8192, description="Longer side of the overlay; 0 keeps none")


class EvidenceStore:
    """Writes JPEG files under their final name only when they are whole, and deletes the oldest above the cap.

    Raises
    ------
    PublishError
        The folder cannot be written.
    """

    def __init__(self, settings: EvidenceSettings) -> None:
        self._settings = settings
        self._folder = settings.folder
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for draft in self._folder.glob(".*.jpg.tmp"):  # left by a kill
                if _OURS.fullmatch(draft.name[1:-4]):
                    draft.unlink()
            ours = [p for p in self._folder.glob("*.jpg") if _OURS.fullmatch(p.name)]
            known = sorted((_age(p), p.name, p.stat().st_size) for p in ours)
        except OSError as error:
            raise self._error(error) from error
        self._files: dict[str, int] = {name: size for _, name, size in known}
        self._count = known[-1][0][0] if known else 0
        self._bytes = sum(self._files.values())
        self._cap = self._limit = settings.max_mb * 1024 * 1024
        self._lock = threading.Lock()

    def give_up(self, size: float) -> float:
        """Leave so many bytes of the cap to others, from now on; return how many there were to leave."""
        with self._lock:
            given = min(size, self._cap)
            self._limit = self._cap - given
            self._shrink(self._limit)
            return given

    def free(self, size: float) -> int:
        """Delete the oldest pictures until so many bytes are free; return how many that made."""
        with self._lock:
            before = self._bytes
            self._shrink(max(0.0, before - size))
            return before - self._bytes

    def store(self, image: U8, inspection: Inspection) -> tuple[EvidenceRef, ...]:
        """Keep pictures of one frame and return references to them; none where its verdict is not asked for.

        Raises
        ------
        PublishError
            They cannot be written, for example because the disk is full.
        """
        settings = self._settings
        if inspection.verdict.value not in settings.of:
            return ()
        with self._lock:
            self._count += 1
            count = self._count
        stem = f"{count:010d}-{inspection.inspected_at:%Y%m%dT%H%M%S%f}-{plain_name(inspection.frame_id)}"
        refs = []
        if settings.overlay_px:
            refs.append(
                self._write(f"{stem}.jpg", draw_overlay(image, inspection, settings.overlay_px), "overlay", None)
            )
        worst = sorted(inspection.defects, key=lambda d: -d.peak)[: settings.max_crops]
        for number, defect in enumerate(worst):
            left, top, right, bottom = defect.box_xyxy
            margin = settings.margin_px
            crop = image[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin]
            refs.append(self._write(f"{stem}-{number:02d}.jpg", crop, "crop", defect.box_xyxy))
        return tuple(refs)

    def _write(
        self, name: str, picture: U8, kind: Literal["overlay", "crop"], box: tuple[int, int, int, int] | None
    ) -> EvidenceRef:
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])[1].tobytes()
        draft, target = self._folder / f".{name}.tmp", self._folder / name
        with self._lock:
            self._make_room(len(data))
            self._place(data, draft, target)
        digest = hashlib.sha256(data).hexdigest()
        return EvidenceRef(kind=kind, uri=name, sha256=digest, bytes=len(data), box_xyxy=box)

    def _place(self, data: bytes, draft: Path, target: Path) -> None:
        try:
            draft.write_bytes(data)
            draft.replace(target)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise self._error(error) from error
        self._files[target.name] = len(data)
        self._bytes += len(data)

    def _make_room(self, size: int) -> None:
        if size > self._cap:
            raise PublishError(
                f"evidence folder {self._folder}: one picture has {size} bytes, evidence.max_mb allows {self._cap:.0f}; "
                "raise it"
            )
        if size > self._limit:
            raise PublishError(
                f"evidence folder {self._folder}: its room went to results that wait; "
                "bring the broker back or raise outbox.max_mb"
            )
        self._shrink(self._limit - size)

    def _shrink(self, limit: float) -> None:
        """Delete the oldest pictures until the others take no more than ``limit`` bytes."""
        while self._files and self._bytes > limit:
            name = next(iter(self._files))
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise self._error(error) from error
            self._bytes -= self._files.pop(name)

    def _error(self, error: OSError) -> PublishError:
        return PublishError(
            f"evidence folder {self._folder} cannot be written: {error.strerror or error}; free space or check its owner"
        )


def _age(path: Path) -> tuple[int, int]:
    """Order pictures by their count: clocks jump. Those of a jetspect that did not count are older, by their time."""
    found = _OURS.fullmatch(path.name)
    count = found[1] if found is not None else None
    return (int(count), 0) if count else (0, path.stat().st_mtime_ns)


def plain_name(name: str) -> str:
    """Turn a frame id into a part of a file name; ids that differ in other characters differ by a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[-80:].strip(".")
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return plain if plain == name else f"{plain}-{digest[:8]}"
