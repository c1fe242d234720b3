"""Versions of what a GPU engine stands on: CUDA, cuDNN, TensorRT and the Python that would use them."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_text
from jetspect.device.packages import upstream

_INCLUDE = ("usr/include/aarch64-linux-gnu", "usr/include/x86_64-linux-gnu", "usr/include")
_TENSORRT = ("NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR", "NV_TENSORRT_PATCH")
_TENSORRT_11 = ("TRT_MAJOR_ENTERPRISE", "TRT_MINOR_ENTERPRISE", "TRT_PATCH_ENTERPRISE")
_CUDNN = ("CUDNN_MAJOR", "CUDNN_MINOR", "CUDNN_PATCHLEVEL")


@dataclass(frozen=True)
class Python:
    """The Python that runs now.

    Attributes
    ----------
    environment
        Folder of the virtual environment; empty for the system's own Python.
    sees_system_packages
        Whether what apt installs can be imported.
    """

    version: str
    executable: str
    environment: str
    sees_system_packages: bool


@dataclass(frozen=True)
class Software:
    """Versions as they are installed on this machine; empty where a part is not there."""

    cuda: str
    cudnn: str
    tensorrt: str
    tensorrt_python: str
    python: Python


def read_software(packages: Mapping[str, str], root: Path = ROOT) -> Software:
    """Look at dpkg first, then at the headers and version files that other ways of installing leave."""
    return Software(
        cuda=_cuda(packages, root),
        cudnn=_first(packages, "libcudnn9-cuda-", "libcudnn8", "libcudnn9") or _header(root, "cudnn_version.h", _CUDNN),
        tensorrt=_first(packages, "libnvinfer1", "libnvinfer8", "libnvinfer-bin")
        or _header(root, "NvInferVersion.h", _TENSORRT)
        or _header(root, "NvInferVersion.h", _TENSORRT_11),
        tensorrt_python=_first(packages, "python3-libnvinfer"),
        python=this_python(),
    )


def this_python() -> Python:
    """Describe the Python that runs now."""
    inside = sys.prefix != sys.base_prefix
    told = read_text(Path(sys.prefix) / "pyvenv.cfg") if inside else ""
    shared = re.search(r"include-system-site-packages\s*=\s*true", told, re.IGNORECASE) is not None
    return Python(platform.python_version(), sys.executable, sys.prefix if inside else "", shared or not inside)


def _cuda(packages: Mapping[str, str], root: Path) -> str:
    told = read_text(root / "usr/local/cuda/version.json")
    try:
        version = json.loads(told)["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return _first(packages, "cuda-cudart-")
    return version if isinstance(version, str) else ""


def _first(packages: Mapping[str, str], *starts: str) -> str:
    """Return the highest version among the packages that begin with the first name that any has."""
    for start in starts:
        found = [upstream(v) for name, v in packages.items() if name.startswith(start) and "-dev" not in name]
        if found:
            return max(found, key=_numbers)
    return ""


def _header(root: Path, name: str, fields: tuple[str, str, str]) -> str:
    for folder in _INCLUDE:
        for path in entries(root / folder, name):
            text = read_text(path)
            found = [re.search(rf"#define\s+{field}\s+(\d+)", text) for field in fields]
            if all(found):
                return ".".join(m[1] for m in found if m)
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version))
