from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetspect.errors import EngineError
from jetspect.runtime.private import private_folder, read_private, require_private, write_private


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "new"))
    folder = private_folder("kernels")
    assert folder == tmp_path / "new" / "kernels"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder("kernels") == folder


@pytest.mark.parametrize("xdg", [True, False])
def test_without_a_setting_it_lies_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xdg: bool
) -> None:
    monkeypatch.delenv("JETSPECT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if xdg:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    where = tmp_path / "cache" if xdg else tmp_path / "home/.cache"
    assert private_folder("engines") == where / "jetspect/engines"


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels").chmod(0o777)
    with pytest.raises(EngineError, match=r"can be written by others \(mode 0777\).*chmod go-w"):
        private_folder("kernels")


def test_a_folder_that_others_may_replace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "shared"))
    private_folder("kernels")
    (tmp_path / "shared").chmod(0o770)
    with pytest.raises(
        EngineError, match=r"shared can be written by others \(mode 0770\), who could put another kernels"
    ):
        private_folder("kernels")
    (tmp_path / "shared").chmod(0o1777)  # as /tmp: there nobody replaces what is not theirs
    private_folder("kernels")


def test_files_are_written_whole_and_read_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "code"
    assert read_private(path) is None
    write_private(path, b"one")
    write_private(path, b"two")
    assert (read_private(path), path.stat().st_mode & 0o777, len(list(tmp_path.iterdir()))) == (b"two", 0o600, 1)
    path.chmod(0o644)
    with pytest.raises(EngineError, match=r"can be read by others \(mode 0644\)"):
        read_private(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(EngineError, match="is no plain file; delete it"):
        read_private(path)
    path.rmdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="cannot be read: Too many levels of symbolic links; build it again"):
        read_private(path, then="build it again")
    with pytest.raises(EngineError, match="cannot be written"):
        write_private(tmp_path / "no" / "code", b"")


def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    values = list(tmp_path.stat())
    values[4] = os.geteuid() + 1
    with pytest.raises(EngineError, match=r"belongs to user .*JETSPECT_CACHE"):
        require_private(tmp_path, os.stat_result(values))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"cannot be made: Not a directory; set JETSPECT_CACHE"):
        private_folder("kernels")
