"""A power cut takes back names that were not synced, and the bytes of files that were not; the station starts all the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.judging import open_judge
from jetspect.runtime.slots.deploy import deploy, on_probation, roll_back
from jetspect.runtime.slots.folder import SlotFolder, other
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import read_state
from jetspect.runtime.slots.switching import SlotInspectors

Config = Callable[..., StationConfig]
Version = Callable[..., Path]


@dataclass
class Renamed:
    source: Path
    target: Path
    before: bytes | str | None  # the file or the link that was replaced

    def undo(self, folder: Path) -> None:
        source, target = folder / self.source.name, folder / self.target.name
        if target.is_symlink() or target.exists():
            target.rename(source)
        if isinstance(self.before, bytes):
            target.write_bytes(self.before)
        elif self.before is not None:
            target.symlink_to(self.before)


@dataclass
class Disk:
    """Copies a folder of slots as each power cut would leave it."""

    folder: Path
    copies: Path
    pending: list[Renamed] = field(default_factory=list)
    synced: set[int] = field(default_factory=set)
    seen: set[tuple[Any, ...]] = field(default_factory=set)
    cuts: list[Path] = field(default_factory=list)

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        self.synced = {path.lstat().st_ino for path in self.folder.rglob("*")}
        fsync = os.fsync

        def sync(handle: int) -> None:
            fsync(handle)
            self.synced.add(os.fstat(handle).st_ino)
            if os.path.samestat(os.fstat(handle), self.folder.stat()):
                self.pending.clear()
            self.cut()

        patch.setattr(os, "fsync", sync)
        for name in ("rename", "replace"):
            patch.setattr(Path, name, self._recording(getattr(Path, name)))

    def _recording(self, move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def moved(source: Path, target: Path) -> Path:
            if source.parent != self.folder:
                return move(source, target)
            before: bytes | str | None = None
            if target.is_symlink():
                before = str(target.readlink())
            elif target.is_file():
                before = target.read_bytes()
            done = move(source, target)
            self.pending.append(Renamed(source, target, before))
            self.cut()
            return done

        return moved

    def cut(self, _: str = "") -> None:
        """Keep what a power cut now may leave, for each number of the last renames that it takes back."""
        for undone in range(len(self.pending) + 1):
            copy = self.copies / str(len(self.cuts))
            shutil.copytree(self.folder, copy, symlinks=True)
            for path in self.folder.rglob("*"):
                if path.is_file() and not path.is_symlink() and path.lstat().st_ino not in self.synced:
                    (copy / path.relative_to(self.folder)).write_bytes(b"")
            for renamed in reversed(self.pending[len(self.pending) - undone :]):
                renamed.undo(copy)
            state = tuple(sorted(map(_told(copy), copy.rglob("*"))))
            if state in self.seen:
                shutil.rmtree(copy)
                continue
            self.seen.add(state)
            self.cuts.append(copy)


def _told(folder: Path) -> Callable[[Path], tuple[str, str]]:
    def tell(path: Path) -> tuple[str, str]:
        what = str(path.readlink()) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        return str(path.relative_to(folder)), what

    return tell


@pytest.fixture
def disk(folder: SlotFolder, tmp_path: Path, put: Any, version: Version) -> Iterator[Disk]:
    """Version 2 is live in b, version 1 is the way back in a."""
    put(version("1"))
    put(version("2"))
    (tmp_path / "cuts").mkdir()
    yield Disk(folder.path, tmp_path / "cuts")


def started(cut: Path, config: StationConfig) -> tuple[str, str, bool]:
    """What judges, what the way back is, and whether there is a probation, after a start of the station's slots."""
    folder = SlotFolder(cut)
    with SlotInspectors(folder, SlotSettings(), lambda slot: open_judge(config, folder.place(slot))) as inspectors:
        live = inspectors.model.version
        slot = folder.current()
    assert slot is not None
    tried = on_probation(folder, read_state(folder)) is not None
    return live, Bundle.open(folder.place(other(slot))).manifest.version, tried


def test_after_a_power_cut_in_a_deploy_either_bundle_judges_and_both_are_whole(
    disk: Disk, folder: SlotFolder, config: Config, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never the new one without its probation, and the new one for certain once the deploy has ended."""
    with monkeypatch.context() as patch:
        disk.watch(patch)
        deploy(version("3"), config(), SlotFolder(folder.path, disk.cut), unsigned=True, force=True)
        assert not disk.pending
    found = [started(cut, config()) for cut in disk.cuts]
    assert {(live, back) for live, back, _ in found} == {("2", "1"), ("2", "3"), ("3", "2")}
    assert all(tried for live, _, tried in found if live == "3")
    assert found[-1][0] == "3"
    assert len(found) >= 12


def test_after_a_power_cut_in_a_rollback_either_bundle_judges(
    disk: Disk, folder: SlotFolder, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk.watch(patch)
        roll_back(SlotFolder(folder.path, disk.cut), "by hand", by_hand=True)
        assert not disk.pending
    found = [started(cut, config()) for cut in disk.cuts]
    assert {(live, back) for live, back, _ in found} == {("2", "1"), ("1", "2")}
    assert found[-1] == ("1", "2", False)
