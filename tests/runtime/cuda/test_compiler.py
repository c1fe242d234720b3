from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.cuda import compiler
from jetspect.runtime.cuda.compiler import TOOLKIT, compile_kernels, find_nvcc
from jetspect.runtime.cuda.driver import KERNELS

# Orin, H100/H200 and Thor.
CAPABILITIES = [(8, 7), (9, 0), (11, 0)]


@pytest.fixture
def fake_nvcc(tmp_path: Path) -> Path:
    """A compiler that writes what it was called with, and counts its calls."""
    script = tmp_path / "nvcc"
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "Build of the test"; exit 0; }\n'
        f'echo "$@" >> {tmp_path}/calls\nwhile [ "$1" != -o ]; do shift; done\necho code > "$2"\n'
    )
    script.chmod(0o755)
    return script


def test_kernels_compile_for_every_board_where_there_is_a_compiler(tmp_path: Path) -> None:
    """No compiler on this machine: the host build of the other tests has to do."""
    if shutil.which("nvcc", path=os.environ["PATH"] + os.pathsep + str(TOOLKIT)) is None:
        with pytest.raises(MissingDependencyError, match="nvcc"):
            find_nvcc()
        return
    for capability in CAPABILITIES:
        assert compile_kernels(KERNELS, capability, tmp_path)[:4] == b"\x7fELF"


def test_what_was_compiled_is_kept(tmp_path: Path, fake_nvcc: Path) -> None:
    for _ in range(2):
        assert compile_kernels(KERNELS, (8, 7), tmp_path, nvcc=fake_nvcc) == b"code\n"
    compile_kernels(KERNELS, (11, 0), tmp_path, nvcc=fake_nvcc)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[2] for call in calls] == ["-arch=sm_87", "-arch=sm_110"]


def test_a_changed_source_is_compiled_again(tmp_path: Path, fake_nvcc: Path) -> None:
    source = tmp_path / "k.cu"
    for text in ("a", "b"):
        source.write_text(text)
        compile_kernels(source, (8, 7), tmp_path, nvcc=fake_nvcc)
    assert len((tmp_path / "calls").read_text().splitlines()) == 2


def test_what_the_compiler_says_is_passed_on(tmp_path: Path) -> None:
    script = tmp_path / "nvcc"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo v; exit 0; }\necho "unknown sm_87" >&2; exit 1\n')
    script.chmod(0o755)
    with pytest.raises(
        EngineError, match=r"cannot compile kernels.cu for sm_87: unknown sm_87; install the CUDA toolkit"
    ):
        compile_kernels(KERNELS, (8, 7), tmp_path, nvcc=script)
    assert [p.name for p in tmp_path.iterdir()] == ["nvcc"]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "TOOLKIT", tmp_path)
    with pytest.raises(MissingDependencyError, match="nvcc"):
        find_nvcc()
