"""Engines are code: only what nobody else could have written, and what fits its sidecar, is read."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from jetspect.errors import EngineError
from jetspect.runtime.engines.cache import EngineStore, default_folder
from jetspect.runtime.engines.sidecar import EngineKey, Sidecar, Step

PLAN = b"engine" * 100
KEY = EngineKey(
    graph_sha256="a" * 64,
    precision="int8",
    shape_nhwc=(1, 512, 640, 3),
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability=(8, 7),
    driver=(12, 6),
    typing="weak",
    flags=("FP16", "INT8"),
    tf32=True,
    opt_level=3,
    builder_revision=1,
)


def sidecar(key: EngineKey = KEY, plan: bytes = PLAN) -> Sidecar:
    return Sidecar(
        key=key,
        bundle="pits 1.0",
        jetspect="0",
        created=datetime.now(timezone.utc),
        build_s=1.0,
        steps=(Step(opt_level=3, workspace_mib=64),),
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        engine_bytes=len(plan),
    )


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "a" / "engines")


def test_what_was_saved_is_loaded(store: EngineStore) -> None:
    assert store.load(KEY) is None
    path = store.save(PLAN, sidecar())
    assert path.name.startswith("int8-640x512-b1-")
    found = store.load(KEY)
    assert (
        found is not None
        and found[0] == PLAN
        and found[1] == sidecar().model_copy(update={"created": found[1].created})
    )
    store.save(PLAN + b"2", sidecar(plan=PLAN + b"2"))
    again = store.load(KEY)
    assert again is not None and again[0] == PLAN + b"2"


def test_folder_and_files_are_this_user_s_alone(store: EngineStore) -> None:
    store.save(PLAN, sidecar())
    store.save_timing_cache("kernels", b"x")
    with store.lock():
        modes = {p.stat().st_mode & 0o777 for p in store.folder.iterdir()}
    assert store.folder.stat().st_mode & 0o777 == 0o700 and modes == {0o600}
    assert len(list(store.folder.iterdir())) == 4, "nothing half-written is left"


@pytest.mark.parametrize("name", list(EngineKey.model_fields))
def test_every_part_of_the_key_makes_another_engine(store: EngineStore, name: str) -> None:
    changed = {
        "graph_sha256": "b" * 64,
        "precision": "fp16",
        "shape_nhwc": (2, 512, 640, 3),
        "tensorrt": "10.3.1",
        "gpu": "Thor",
        "compute_capability": (8, 9),
        "driver": (12, 7),
        "typing": "strong",
        "flags": (),
        "tf32": False,
        "opt_level": 4,
        "builder_revision": 2,
    }
    other = KEY.model_copy(update={name: changed[name]})
    assert other.name != KEY.name
    store.save(PLAN, sidecar())
    assert store.load(other) is None
    assert len(KEY.differences(other)) == 1


def test_differences_read_as_words() -> None:
    other = KEY.model_copy(update={"tensorrt": "8.6.2", "driver": (12, 2), "shape_nhwc": (1, 384, 384, 3), "flags": ()})
    assert KEY.differences(other) == [
        "shape nhwc 1 x 384 x 384 x 3 instead of 1 x 512 x 640 x 3",
        "TensorRT 8.6.2 instead of 10.3.0",
        "CUDA driver 12.2 instead of 12.6",
        "flags none instead of FP16+INT8",
    ]


def test_the_nearest_engine_of_the_same_bundle_is_named(store: EngineStore) -> None:
    assert store.nearest(KEY, "pits 1.0") == []
    store.save(PLAN, sidecar(KEY.model_copy(update={"tensorrt": "8.6.2", "gpu": "Xavier"})))
    store.save(PLAN, sidecar(KEY.model_copy(update={"graph_sha256": "b" * 64})))
    (store.folder / "broken.json").write_text("{")
    assert store.nearest(KEY, "pits 1.1") == ["graph another one"]
    assert store.nearest(KEY.model_copy(update={"precision": "fp16"}), "pits 1.0") == []


def spoil_mode(store: EngineStore, engine: Path) -> None:
    engine.chmod(0o660)


def spoil_sidecar_mode(store: EngineStore, engine: Path) -> None:
    engine.with_suffix(".json").chmod(0o644)


def spoil_link(store: EngineStore, engine: Path) -> None:
    engine.rename(engine.with_suffix(".moved"))
    engine.symlink_to(engine.with_suffix(".moved"))


def spoil_pipe(store: EngineStore, engine: Path) -> None:
    engine.unlink()
    os.mkfifo(engine, 0o600)


def spoil_missing(store: EngineStore, engine: Path) -> None:
    engine.unlink()


def spoil_cut(store: EngineStore, engine: Path) -> None:
    engine.write_bytes(PLAN[:-1])


def spoil_bytes(store: EngineStore, engine: Path) -> None:
    engine.write_bytes(PLAN[:-1] + b"!")


def spoil_key(store: EngineStore, engine: Path) -> None:
    beside = engine.with_suffix(".json")
    beside.write_text(beside.read_text().replace('"Orin"', '"Thor"'))


def spoil_schema(store: EngineStore, engine: Path) -> None:
    beside = engine.with_suffix(".json")
    beside.write_text(beside.read_text().replace('"schema_version": 1', '"schema_version": 2'))


def spoil_json(store: EngineStore, engine: Path) -> None:
    engine.with_suffix(".json").write_bytes(b"\xff\x00")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_mode, r"engine can be written by others \(mode 0660\); what lies there is executed: chmod go-w"),
        (
            spoil_sidecar_mode,
            r"\.json can be read by others \(mode 0644\); what lies there is this user's alone: chmod go-rwx",
        ),
        (spoil_link, r"cannot be read: Too many levels of symbolic links; build it again"),
        (spoil_pipe, r"is no plain file; build it again"),
        (spoil_missing, r"is there but int8-640x512-b1-\w+\.engine is not; build it again"),
        (spoil_cut, r"has 599 bytes, its sidecar says 600; build it again"),
        (
            spoil_bytes,
            r"it was changed; build it again with jetspect build --rebuild, or delete int8-640x512-b1-\w+\.\* in",
        ),
        (spoil_key, r"describes another engine \(GPU Thor instead of Orin\); build it again"),
        (spoil_schema, r"is no sidecar of an engine \(schema_version: Input should be 1\); build it again"),
        (spoil_json, r"is no sidecar of an engine \(file: Invalid JSON.*build it again"),
    ],
)
def test_what_cannot_be_trusted_is_not_loaded(store: EngineStore, spoil: Any, said: str) -> None:
    spoil(store, store.save(PLAN, sidecar()))
    with pytest.raises(EngineError, match=said):
        store.load(KEY)


def test_a_folder_that_others_may_use_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(EngineError, match=r"can be read by others \(mode 0750\).*chmod go-rwx"):
        EngineStore(tmp_path)


def test_a_folder_of_another_user_is_refused(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(
        EngineError,
        match=r"belongs to user \d+, this is user 4711; what lies there is executed: give it to this user with chown",
    ):
        EngineStore(store.folder)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        EngineError, match=r"cannot be used: .*--engine-dir, or engine\.folder in the station file, or \$JETSPECT"
    ):
        EngineStore(tmp_path / "file" / "engines")


def test_a_failed_write_leaves_nothing(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EngineError, match="cannot be written: No space left on device; make room"):
        store.save(PLAN, sidecar())
    assert not list(store.folder.iterdir())


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JETSPECT_ENGINE_DIR", raising=False)
    monkeypatch.delenv("JETSPECT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/op")
    assert default_folder() == Path("/home/op/.cache/jetspect/engines")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/op")
    assert default_folder() == Path("/var/op/jetspect/engines")
    monkeypatch.setenv("JETSPECT_CACHE", "/var/cache/op")
    assert default_folder() == Path("/var/cache/op/engines")
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", "/srv/engines")
    assert default_folder() == Path("/srv/engines")
