"""What is known of both slots, in one small JSON file that is written whole or not at all."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetspect.errors import DeployError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.frames import utc_now
from jetspect.runtime.slots.folder import Slot, SlotFolder, sync_folder, write_through

log = logging.getLogger(__name__)
_FILE = "state.json"
_MOST_BYTES = 1024**2
KEPT_FRAMES = 2000


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Record(_Part):
    """How a bundle judged the last frames in a slot."""

    outcomes: str = Field("", max_length=KEPT_FRAMES, description="Oldest first: O OK, N NOK, U UNKNOWN, E error")
    latency_ms: float | None = Field(None, description="Median time of a frame")


class SlotState(_Part):
    """What lies in a slot, and how it did."""

    bundle: str
    manifest_sha256: str
    deployed_at: datetime
    signature: str
    golden: str
    role: Literal["live", "shadow"] = Field("live", description="shadow: only to look on; no result counted yet")
    record: Record = Record()


class Probation(_Part):
    """A bundle that has yet to show that it is no worse than the one before."""

    slot: Slot
    began: datetime
    starts: int = Field(0, ge=0, description="Of the station since then, without those that ended in good order")
    elapsed_s: float = Field(0.0, ge=0, description="In which the station ran; a clock that jumps changes nothing")
    record: Record = Record()


class Happening(_Part):
    """What was changed last, and why."""

    at: datetime = Field(default_factory=utc_now)
    what: str = Field(description="deployed, passed, rolled_back, switched_back (by hand) or kept (no way back)")
    slot: Slot = Field(description="That is live from there on")
    reason: str = ""


class SlotsState(_Part):
    """Everything in ``state.json``."""

    version: int = 1
    slots: dict[Slot, SlotState] = Field(default_factory=dict)
    probation: Probation | None = None
    last: Happening | None = None


def slot_state(bundle: Bundle, golden: str, *, shadow: bool = False) -> SlotState:
    """Describe a bundle that has just been proven, and has judged nothing yet."""
    manifest = bundle.manifest
    return SlotState(
        bundle=f"{manifest.name} {manifest.version}",
        manifest_sha256=bundle.manifest_sha256,
        deployed_at=utc_now(),
        signature=bundle.signature,
        golden=golden,
        role="shadow" if shadow else "live",
    )


def only_looks_on(state: SlotsState, slot: Slot) -> bool:
    """Whether a slot holds a bundle that was never meant to judge."""
    entry = state.slots.get(slot)
    return entry is not None and entry.role == "shadow"


def read_state(folder: SlotFolder) -> SlotsState:
    """Return what is known. A file that cannot be read says nothing: bundles count, not what was noted of them."""
    path = folder.path / _FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
        return SlotsState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return SlotsState()
    except (OSError, ValueError, ValidationError) as error:
        log.warning("%s cannot be read and counts as empty: %s", path, " ".join(str(error).split())[:300])
        return SlotsState()


def write_state(folder: SlotFolder, state: SlotsState) -> None:
    """Replace the file. The caller holds the folder's lock."""
    path = folder.path / _FILE
    draft = Path(folder.path, f".{_FILE}.new")
    try:
        draft.unlink(missing_ok=True)
        folder.step("write the state")
        write_through(draft, state.model_dump_json(indent=1).encode())
        folder.step("name the state")
        draft.replace(path)
        sync_folder(folder.path)
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror or error}; check its disk and owner") from error
