"""NVIDIA's own Python bindings of several TensorRT versions, each imported in a process of its own, on stub libraries.

The wheels (about 1 MB each) are fetched with pip once and kept beside the environment's packages.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
STORE = Path(sys.prefix) / "share" / "jetspect-tests" / "tensorrt"
PACKAGES = {
    "8.6.1": "tensorrt_bindings==8.6.1",
    "10.3.0": "tensorrt_cu12_bindings==10.3.0",
    "10.13.3.9": "tensorrt_cu13_bindings==10.13.3.9",
    "11.4.0.106": "tensorrt_cu13_bindings==11.4.0.106",
}
# 8.6 was published up to Python 3.11; JetPack 6.0, which brings it, has 3.10. So on 3.12 there is nothing to look at.
VERSIONS = tuple(v for v in PACKAGES if v != "8.6.1" or sys.version_info < (3, 12))
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers")

# What TensorRT offers: classes and their members, with the parameters of each overload as its docstring has them.
_DUMP = r"""
import ctypes, json, re
import tensorrt as trt

def parameters(member):
    found = []
    for line in (member.__doc__ or "").splitlines():
        match = re.match(r"(?:\d+\. )?\w+\((.*)\)(?: -> .*)?$", line.strip())
        if match and "*args" not in match[1]:
            depth, names = 0, [""]
            for letter in match[1]:
                depth += (letter in "([{<") - (letter in ")]}>")
                if letter == "," and depth == 0:
                    names.append("")
                else:
                    names[-1] += letter
            pairs = [(n.split(":")[0].strip(), "=" in n) for n in names if n.strip()]
            found.append([pair for pair in pairs if pair[0] != "self"])
    return found

classes = {}
for name in dir(trt):
    cls = getattr(trt, name)
    if isinstance(cls, type):
        # Slot 20 of a type object are its buffer functions; pybind11 fills it for classes that hand out memory.
        slot = ctypes.c_void_p.from_address(id(cls) + 20 * ctypes.sizeof(ctypes.c_void_p)).value
        members = {n: parameters(getattr(cls, n)) for n in dir(cls) if not n.startswith("__") or n == "__init__"}
        nested = {n: sorted(getattr(cls, n).__members__) for n in members if hasattr(getattr(cls, n), "__members__")}
        classes[name] = {"members": members, "nested": nested, "buffer": slot is not None}
print(json.dumps({"version": trt.__version__, "classes": classes}))
"""


@contextmanager
def _locked() -> Iterator[None]:
    """One process at a time fills the store; tests run in several."""
    STORE.mkdir(parents=True, exist_ok=True)
    with (STORE / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _once(target: Path, fill: Any) -> Path:
    """Make a folder whole, or not at all."""
    with _locked():
        if not target.exists():
            unfinished = target.with_name(target.name + ".part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            fill(unfinished)
            unfinished.rename(target)
    return target


@cache
def libraries() -> Path:
    """Compile the stubs under the names of every major version."""
    source = HERE / "nvinfer_stub.c"

    def compile_all(folder: Path) -> None:
        for major in (8, 10, 11):
            for name in LIBRARIES:
                out = f"lib{name}.so.{major}"
                _run(["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{out}", "-o", str(folder / out), str(source)])

    return _once(STORE / f"libraries-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}", compile_all)


@cache
def bindings(version: str) -> Path:
    """Fetch and unpack the bindings; the folder goes on PYTHONPATH, where ``import tensorrt`` then finds them."""

    def fetch(folder: Path) -> None:
        wheels = folder / "wheels"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--only-binary=:all:", "--dest", str(wheels), PACKAGES[version]])
        (wheel,) = wheels.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(folder)
        shutil.rmtree(wheels)
        # The package of this name only adds the libraries to the bindings.
        (folder / "tensorrt.py").write_text(
            "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
        )

    return _once(STORE / f"{version}-py{sys.version_info[0]}{sys.version_info[1]}", fetch)


def run(version: str, code: str) -> str:
    """Run Python with ``import tensorrt`` of one version; return what it prints."""
    path = os.pathsep.join([str(bindings(version)), str(REPOSITORY)])
    env = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": str(libraries())}
    return _run([sys.executable, "-W", "error", "-c", code], env=env)


@cache
def surface(version: str) -> dict[str, Any]:
    """Return what a version offers."""
    told: dict[str, Any] = json.loads(run(version, _DUMP))
    assert told["version"] == version
    return told["classes"]  # type: ignore[no-any-return]


@cache
def typed(version: str) -> Path:
    """Make stubs for a type checker out of the bindings' docstrings; the folder goes on MYPYPATH."""

    def generate(folder: Path) -> None:
        run(
            version,
            _STUBS.format(["tensorrt_bindings.tensorrt", "-o", str(folder), "--ignore-all-errors"]),
        )
        stub = folder / "tensorrt_bindings" / "tensorrt.pyi"
        stub.write_text(_mended(stub.read_text(), {c for c, told in surface(version).items() if told["buffer"]}))
        (stub.parent / "__init__.pyi").touch()
        (folder / "tensorrt.pyi").write_text("from tensorrt_bindings.tensorrt import *\n__version__: str\n")

    mender = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return _once(STORE / f"{version}-py{sys.version_info[0]}{sys.version_info[1]}-typed-{mender}", generate)


_STUBS = "import logging, sys\nlogging.disable()\nsys.argv[1:] = {}\nfrom pybind11_stubgen import main\nmain()"


def _mended(stub: str, buffers: set[str]) -> str:
    """Mend what docstrings cannot say, or say wrongly: none of it is about whether a name or a parameter exists."""
    # What a callback is given is an int, what a method takes is anything like one; the docstrings of 11 do not tell them apart.
    stub = stub.replace("typing.SupportsInt", "int").replace("typing.SupportsFloat", "float")
    lines = []
    for line in stub.splitlines():
        text = line.strip()
        if text.startswith("def "):
            try:
                ast.parse(text.removesuffix("...") + " ...")
            except SyntaxError:  # a parameter called "in", or one without a default after one with
                found = re.match(r"def (\w+)", text)
                assert found is not None
                rest = "typing.Any, **kwargs: typing.Any) -> typing.Any:" + (" ..." if text.endswith("...") else "")
                line = f"{line[: len(line) - len(text)]}def {found[1]}(self, *args: {rest}"
        lines.append(line)
        if (opened := re.match(r"class (\w+)", line)) is None:
            continue
        if opened[1] in buffers:
            lines.append("    def __buffer__(self, flags: int) -> memoryview: ...")
        if opened[1] == "Dims":
            lines.append("    def __iter__(self) -> typing.Iterator[int]: ...")
    return "\n".join(lines) + "\n"


def _run(command: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, f"{' '.join(command[:6])} ... failed:\n{done.stderr[-3000:]}"
    return done.stdout
