"""Compile CUDA kernels on the device they run on, once, and keep the result."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.private import private_folder, read_private, write_private

log = logging.getLogger(__name__)
Module = TypeVar("Module")

# JetPack installs the toolkit here and leaves it off the PATH.
TOOLKIT = Path("/usr/local/cuda/bin")


def find_nvcc() -> Path:
    """Return CUDA's compiler.

    Raises
    ------
    MissingDependencyError
        There is none on the PATH nor in /usr/local/cuda.
    """
    # Without empty parts: they would mean the working directory.
    places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if place]
    found = shutil.which("nvcc", path=os.pathsep.join([*places, str(TOOLKIT)]))
    if found is None:
        raise MissingDependencyError(
            "nvcc (CUDA's compiler)", "post-processing on the GPU", "sudo apt-get install nvidia-cuda-dev  # JetPack"
        )
    return Path(found)


def compiled_kernels(
    source: Path, capability: tuple[int, int], load: Callable[[bytes], Module], fault: type[Exception]
) -> Module:
    """Return what ``load`` makes of the machine code of a CUDA source; kept code that does not load is made anew, once.

    Raises
    ------
    MissingDependencyError, EngineError
        As :func:`compile_kernels`; and EngineError where the kept code cannot be trusted.
    """
    cache = private_folder("kernels")
    try:
        return load(compile_kernels(source, capability, cache))
    except fault as error:
        log.warning("kept kernels do not load (%s); compiling them again", str(error))
        return load(compile_kernels(source, capability, cache, anew=True))


def compile_kernels(
    source: Path, capability: tuple[int, int], cache: Path, *, nvcc: Path | None = None, anew: bool = False
) -> bytes:
    """Return machine code (a cubin) of a CUDA source for one compute capability.

    Parameters
    ----------
    cache
        Folder of this user's where results are kept, under a name made of the source, the compiler and the capability.
    anew
        Compile even where there is a result.

    Raises
    ------
    MissingDependencyError
        There is no compiler.
    EngineError
        The compiler does not know the device or refuses the source; carries what it said.
    """
    nvcc = nvcc or find_nvcc()
    version = _run([str(nvcc), "--version"], "tell its version").strip().splitlines()[-1]
    arch = f"sm_{capability[0]}{capability[1]}"
    key = hashlib.sha256("\0".join([source.read_text(), version, arch]).encode()).hexdigest()[:16]
    kept = cache / f"{source.stem}-{arch}-{key}.cubin"
    if not anew and (code := read_private(kept)) is not None:
        return code
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / kept.name
        command = [str(nvcc), "-cubin", "-O3", f"-arch={arch}", "-o", str(built), str(source)]
        _run(command, f"compile {source.name} for {arch}")
        code = built.read_bytes()
    write_private(kept, code)
    return code


def _run(command: list[str], to_do: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise EngineError(f"{command[0]} cannot {to_do}: {error.strerror or error}; install CUDA's toolkit") from error
    if done.returncode:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[:5])
        raise EngineError(
            f"{command[0]} cannot {to_do}: {said or f'exit code {done.returncode}'}; "
            "install the CUDA toolkit that belongs to this device's driver"
        )
    return done.stdout
