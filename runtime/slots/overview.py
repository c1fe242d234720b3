"""Both slots as they lie on the disk, verified, with what is known of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from jetspect.errors import JetspectError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.slots.deploy import on_probation
from jetspect.runtime.slots.folder import SLOTS, Slot, SlotFolder
from jetspect.runtime.slots.state import Happening, Record, SlotsState, read_state
from jetspect.runtime.slots.trial import ERROR


@dataclass(frozen=True)
class SlotView:
    """One slot. ``frames`` are the last ones that its bundle judged, at most 2000.

    Attributes
    ----------
    shadow
        The bundle only looks on, and is no way back.
    fault
        Why the bundle cannot be used.
    """

    slot: Slot
    live: bool
    on_probation: bool = False
    shadow: bool = False
    fault: str = ""
    bundle: str = ""
    manifest_sha256: str = ""
    signature: str = ""
    deployed_at: datetime | None = None
    frames: int = 0
    nok: int = 0
    unknown: int = 0
    errors: int = 0
    latency_ms: float | None = None


@dataclass(frozen=True)
class Overview:
    slots: tuple[SlotView, ...]
    last: Happening | None

    @property
    def healthy(self) -> bool:
        """Whether a station could start from the live slot."""
        return any(view.live and not view.fault for view in self.slots)

    def as_dict(self) -> dict[str, Any]:
        last = None if self.last is None else self.last.model_dump(mode="json")
        return {"slots": [asdict(view) for view in self.slots], "last": last}


def overview(folder: SlotFolder) -> Overview:
    """Look at both slots; DeployError where the folder's link is none of ours."""
    state, live = read_state(folder), folder.current()
    views = tuple(_view(folder, slot, state, live=slot == live) for slot in SLOTS)
    # A note on a slot that is not live is of a deploy that was cut off before the switch.
    last = state.last if state.last is not None and state.last.slot == live else None
    return Overview(views, last)


def _view(folder: SlotFolder, slot: Slot, state: SlotsState, *, live: bool) -> SlotView:
    probation = on_probation(folder, state)
    tried = probation is not None and probation.slot == slot
    if not folder.filled(slot):
        return SlotView(slot, live, fault="empty")
    try:
        bundle = Bundle.open(folder.place(slot))
    except JetspectError as error:
        return SlotView(slot, live, fault=str(error))
    manifest, known = bundle.manifest, state.slots.get(slot)
    if known is not None and known.manifest_sha256 != bundle.manifest_sha256:
        known = None
    record = Record() if known is None else known.record
    if tried and probation is not None:
        record = probation.record
    return SlotView(
        slot,
        live,
        on_probation=tried,
        shadow=known is not None and known.role == "shadow",
        bundle=f"{manifest.name} {manifest.version}",
        manifest_sha256=bundle.manifest_sha256,
        signature=bundle.signature if known is None else known.signature,
        deployed_at=None if known is None else known.deployed_at,
        frames=len(record.outcomes),
        nok=record.outcomes.count("N"),
        unknown=record.outcomes.count("U"),
        errors=record.outcomes.count(ERROR),
        latency_ms=record.latency_ms,
    )
