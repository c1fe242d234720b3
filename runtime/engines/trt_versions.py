"""What differs between versions of TensorRT: how a network is typed, and which graph of a bundle it can take. Pure.

Before 10 a network has to be told that it keeps its batch axis, and precisions are builder flags. From 10 on the batch axis is
always kept. Strong typing (the graph's own types, no flags) is complete from 10.12 on and the only way from 11 on, where the
flags are gone. JetPack 6 brings 8.6 and 10.3, JetPack 7 brings 10.13 and later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jetspect.errors import EngineError
from jetspect.runtime.manifest import Precision

Version = tuple[int, ...]
OLDEST: Version = (8, 6)
_NO_EXPLICIT_BATCH: Version = (10,)
_STRONG: Version = (10, 12)
# The first with IProgressMonitor, and with the name and operator of the node in a parser error.
_TALKATIVE: Version = (10,)


@dataclass(frozen=True)
class Branch:
    """How a network is built with one version for one precision.

    Attributes
    ----------
    strong
        Whether types come from the graph alone, or from flags too (weak typing).
    explicit_batch
        Whether the network must be told to keep its batch axis.
    flags
        Builder flags to set, by their names in ``tensorrt.BuilderFlag``.
    tf32
        Whether FP32 convolutions may round to 10 bits of mantissa; not in an FP32 graph, which would not be FP32 any more.
    """

    strong: bool
    explicit_batch: bool
    flags: tuple[str, ...]
    tf32: bool

    def __str__(self) -> str:
        if self.strong:
            return "strong typing"
        parts = ["weak typing", " + ".join(self.flags) or "no precision flags"]
        return ", ".join([*parts, "explicit batch"] if self.explicit_batch else parts)


def parse_version(text: str) -> Version:
    """Return a version as integers, e.g. (10, 3, 0); compared as strings, 10 would come before 8.

    Raises
    ------
    EngineError
        It is no version, or one that is too old.
    """
    found = re.match(r"\d+(\.\d+)+", text)
    if found is None:
        raise EngineError(f"TensorRT calls its version {text!r}, which is no version; install it again")
    version = tuple(int(part) for part in found.group().split("."))
    if version < OLDEST:
        raise EngineError(
            f"TensorRT {text} is too old: jetspect needs {OLDEST[0]}.{OLDEST[1]} or later, which comes with JetPack 6; update "
            "JetPack"
        )
    return version


def can_report_progress(version: Version) -> bool:
    """Whether a build says how far it is, and a parser error names its node."""
    return version >= _TALKATIVE


def branch_for(version: Version, precision: Precision) -> Branch:
    """Return how to build a graph; EngineError for a graph that this version does not take."""
    require_precision(version, precision)
    tf32 = precision != "fp32"
    if version >= _STRONG:
        return Branch(strong=True, explicit_batch=False, flags=(), tf32=tf32)
    flags: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("FP16",)}
    before_10 = version < _NO_EXPLICIT_BATCH
    return Branch(strong=False, explicit_batch=before_10, flags=flags.get(precision, ("FP16", "INT8")), tf32=tf32)


def require_precision(version: Version, precision: Precision) -> None:
    """Refuse a graph that this version does not take; another one is never taken in its place.

    TensorRT 8.6 refuses scales in FP16, so there INT8 needs a graph with FP32 scales, and that one is slower from 10 on.

    Raises
    ------
    EngineError
        Says which precision to ask for instead.
    """
    shown = ".".join(map(str, version))
    if precision == "int8-cpu":
        right = "int8" if version >= _NO_EXPLICIT_BATCH else "int8-trt8"
        raise EngineError(f"the int8-cpu graph is made for x86 processors, not for TensorRT; use precision {right}")
    if precision == "int8" and version < _NO_EXPLICIT_BATCH:
        raise EngineError(
            f"the int8 graph has FP16 scales, which TensorRT takes from 10 on and {shown} does not; use precision int8-trt8, "
            "which jetspect calibrate makes beside int8, or update JetPack"
        )
    if precision == "int8-trt8" and version >= _NO_EXPLICIT_BATCH:
        raise EngineError(f"the int8-trt8 graph is made for TensorRT 8.6, this is {shown}; use precision int8")
