"""What wheels are for: an architecture, a Python, and the C library of the system that it comes with."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from jetspect.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from packaging.tags import Tag

Architecture = Literal["aarch64", "x86_64"]
PythonVersion = Literal["3.10", "3.11", "3.12"]
# glibc 2.N of the system whose Python it is: Ubuntu 22.04 (JetPack 6), Debian 12, Ubuntu 24.04 (JetPack 7).
_GLIBC_MINOR: Mapping[str, int] = {"3.10": 35, "3.11": 36, "3.12": 39}
# manylinux policies that wheels are made for; pip compares every file of an index with every one of these.
_POLICIES = (39, 38, 37, 36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)
# Names of the first manylinux policies; pip of JetPack 6 knows wheels by either name.
_OLD_NAMES: Mapping[str, tuple[str, ...]] = {
    "aarch64": ("manylinux2014",),
    "x86_64": ("manylinux2014", "manylinux2010", "manylinux1"),
}


@dataclass(frozen=True)
class Target:
    """The devices that a wheelhouse is for."""

    architecture: Architecture
    python: PythonVersion

    def __str__(self) -> str:
        return f"Python {self.python} on {self.architecture}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags that its pip takes, the best first."""
        policies = [f"manylinux_2_{minor}" for minor in _POLICIES if minor <= _GLIBC_MINOR[self.python]]
        return tuple(f"{p}_{self.architecture}" for p in (*policies, *_OLD_NAMES[self.architecture], "linux"))

    def tags(self) -> frozenset[Tag]:
        """Every tag of a wheel that can be installed there."""
        from packaging.tags import compatible_tags, cpython_tags

        version = tuple(map(int, self.python.split(".")))
        interpreter = "cp" + self.python.replace(".", "")
        native = cpython_tags(version, platforms=self.platforms)
        return frozenset([*native, *compatible_tags(version, interpreter, self.platforms)])

    def environment(self) -> dict[str, str]:
        """The values of environment markers (PEP 508) there."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }


def as_target(architecture: str, python: str) -> Target:
    """Return a target; InputError where there are no such devices."""
    for machine in get_args(Architecture):
        for version in get_args(PythonVersion):
            if (machine, version) == (architecture, python):
                return Target(machine, version)
    raise InputError(
        f"no target has Python {python} on {architecture}; take aarch64 with 3.10 (JetPack 6) or 3.12 (JetPack 7), or "
        f"x86_64, with Python {', '.join(get_args(PythonVersion))}"
    )


def require_packaging() -> None:
    """Raise MissingDependencyError where packages for wheels and certificates are not installed."""
    for name in ("cryptography", "packaging"):
        if importlib.util.find_spec(name) is None:
            raise MissingDependencyError(name, "bringing up devices", "pip install 'jetspect[provision]'")
