"""Bring a bundle into the idle slot and make it live, or go back. Until the last step the live slot is as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetspect.errors import DeployError, JetspectError, SignatureError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import require_graph
from jetspect.runtime.engines.attempt import Progress
from jetspect.runtime.judging import open_judge
from jetspect.runtime.slots.building import build, engine_folder
from jetspect.runtime.slots.folder import SLOTS, Slot, SlotFolder, other
from jetspect.runtime.slots.room import require_room
from jetspect.runtime.slots.state import (
    Happening,
    Probation,
    SlotsState,
    SlotState,
    only_looks_on,
    read_state,
    slot_state,
    write_state,
)

_QUICK_S = 3.0  # for a station that keeps its notes


@dataclass(frozen=True)
class Deployed:
    """What a deploy did; ``fresh`` is False where that bundle was live already."""

    slot: Slot
    state: SlotState
    fresh: bool


def slots_of(config: StationConfig) -> SlotFolder:
    """Return the slots of a station; DeployError where its file names one bundle instead."""
    if config.bundle.slots is None:
        raise DeployError(
            'the station file names one bundle; to deploy, write [bundle] slots = "FOLDER" instead of path'
        )
    return SlotFolder(config.bundle.slots)


def deploy(
    path: Path,
    config: StationConfig,
    folder: SlotFolder,
    *,
    public_key: Path | None = None,
    unsigned: bool = False,
    force: bool = False,
    shadow: bool = False,
    show: Progress | None = None,
) -> Deployed:
    """Verify a bundle, prove it in the station's engine, copy it into the idle slot and switch to it.

    Parameters
    ----------
    public_key
        Instead of the station's own.
    unsigned
        Take a bundle without a signature, where the station has no key either.
    shadow
        Do not switch: the bundle only looks on, where the station's ``slots.shadow`` is set.
    force
        Also while the live bundle is on probation, whose way back the new one takes.

    Raises
    ------
    JetspectError
        Any of it fails; the live slot is as it was.
    """
    key = public_key or config.bundle.public_key
    if key is None and not unsigned:
        raise SignatureError(
            "no public key to check the bundle with: set [bundle] public_key or give --public-key; --unsigned goes without"
        )
    bundle = Bundle.open(path, public_key=key)
    if shadow and folder.current() is None:
        raise DeployError(
            f"nothing is live in {folder.path} that a bundle could look on beside; deploy one without --shadow"
        )
    folder.make()
    with folder.lock(_QUICK_S):  # a deploy that cannot end must not prove and build for minutes first
        if (known := _live(folder, bundle)) is not None:
            return known  # on probation too: nothing is taken from it
        _require_free(folder, read_state(folder), force)
    golden = _prove(bundle, config, show)
    with folder.lock():
        _require_free(folder, read_state(folder), force)
        live = folder.current()
        slot = SLOTS[0] if live is None else other(live)
        require_room(folder.path, bundle, config, None)
        folder.fill(slot, {name: bundle.file(name) for name in bundle.sizes}, lambda draft: _same(draft, bundle))
        state = read_state(folder)
        entry = slot_state(bundle, golden, shadow=shadow)
        if shadow:
            write_state(folder, state.model_copy(update={"slots": {**state.slots, slot: entry}}))
            return Deployed(slot, entry, fresh=True)
        probation = None
        if live is not None and config.slots.probation_minutes > 0:
            probation = Probation(slot=slot, began=entry.deployed_at)
        # Before the switch: a kill in between leaves a note on a slot that is not live, which says nothing.
        state = state.model_copy(
            update={
                "slots": {**state.slots, slot: entry},
                "probation": probation,
                "last": Happening(at=entry.deployed_at, what="deployed", slot=slot),
            }
        )
        write_state(folder, state)
        folder.switch(slot)
    return Deployed(slot, entry, fresh=True)


def roll_back(
    folder: SlotFolder, reason: str, *, to: Slot | None = None, by_hand: bool = False, force: bool = False
) -> Happening:
    """Make the other slot the live one and note why; it has no probation, unless it only looked on so far.

    Parameters
    ----------
    to
        The slot to go back to, which may be the live one already; the one that is not live by default.
    force
        Also to a bundle that only looked on.

    Raises
    ------
    DeployError
        There is no other bundle, it is damaged, or it only looked on: no way back, but an unproven step ahead.
    """
    if folder.current() is None:
        raise DeployError(f"nothing is deployed in {folder.path}; do it with: jetspect device deploy BUNDLE")
    folder.make()
    with folder.lock():
        live = folder.current() or SLOTS[0]
        folder.mend()
        target = to or other(live)
        if not folder.filled(target):
            raise DeployError(f"slot {target} is empty, so there is nothing to go back to; deploy a bundle instead")
        try:
            Bundle.open(folder.place(target))
        except JetspectError as error:
            raise DeployError(f"slot {target} cannot be gone back to: {error}") from error
        state = read_state(folder)
        unproven = only_looks_on(state, target)
        if unproven and not force:
            raise DeployError(
                f"slot {target} holds {state.slots[target].bundle}, which was deployed with --shadow and is no way back; "
                "deploy it without --shadow to have it on probation, or give --force"
            )
        happened = Happening(what="switched_back" if by_hand else "rolled_back", slot=target, reason=reason)
        if unproven:  # noted before the switch, as a deploy does
            entry = state.slots[target].model_copy(update={"role": "live"})
            probation = Probation(slot=target, began=happened.at)
            changes = {"slots": {**state.slots, target: entry}, "probation": probation, "last": happened}
            write_state(folder, state.model_copy(update=changes))
            folder.switch(target)
            return happened
        folder.switch(target)
        write_state(folder, state.model_copy(update={"probation": None, "last": happened}))
    return happened


def on_probation(folder: SlotFolder, state: SlotsState) -> Probation | None:
    """Return the probation of the live slot; a note on a slot that never went live is none."""
    probation = state.probation
    return probation if probation is not None and probation.slot == folder.current() else None


def _require_free(folder: SlotFolder, state: SlotsState, force: bool) -> None:
    probation = on_probation(folder, state)
    if probation is not None and not force:
        raise DeployError(
            f"slot {probation.slot} is on probation since {probation.began:%Y-%m-%d %H:%M} UTC, and a deploy would take its "
            "way back; wait, go back with jetspect device rollback, or give --force"
        )


def _live(folder: SlotFolder, bundle: Bundle) -> Deployed | None:
    """Return the live slot where it holds this bundle, whole."""
    live = folder.current()
    entry = None if live is None else read_state(folder).slots.get(live)
    if live is None or entry is None or entry.manifest_sha256 != bundle.manifest_sha256:
        return None
    try:
        _same(folder.place(live), bundle)
    except JetspectError:
        return None
    return Deployed(live, entry, fresh=False)


def _prove(bundle: Bundle, config: StationConfig, show: Progress | None) -> str:
    """Build the station's engine where that takes building, and run the golden tiles and the station's settings through it."""
    require_graph(bundle, config.bundle.precision)
    engines = engine_folder(config)
    require_room(slots_of(config).path, bundle, config, engines)
    if engines is not None:
        build(bundle, config, show)
    judge = open_judge(config, bundle)
    judge.inspectors.close()
    return str(judge.golden)


def _same(draft: Path, bundle: Bundle) -> None:
    """Refuse a copy that is not, on the disk, what was verified."""
    written = Bundle.open(draft)
    if any(written.file(name) != bundle.file(name) for name in bundle.sizes) or written.sizes != bundle.sizes:
        raise DeployError(f"{draft} is not what was copied there; check the disk")
