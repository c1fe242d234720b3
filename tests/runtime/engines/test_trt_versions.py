"""Versions are numbers, and each takes the graphs that were made for it."""

from __future__ import annotations

from typing import Any

import pytest

from jetspect.errors import EngineError
from jetspect.runtime.engines.trt_versions import Branch, branch_for, parse_version


def test_versions_compare_as_numbers() -> None:
    versions = ["11.4.0.106", "8.6.2.3", "10.3.0", "10.13.3.9", "8.6.1", "10.12"]
    assert sorted(versions, key=parse_version) == ["8.6.1", "8.6.2.3", "10.3.0", "10.12", "10.13.3.9", "11.4.0.106"]
    assert parse_version("10.3.0.post12.dev1") == (10, 3, 0)


@pytest.mark.parametrize("old", ["8.5.2", "7.1.3"])
def test_what_comes_with_an_old_jetpack_is_refused(old: str) -> None:
    with pytest.raises(
        EngineError, match=rf"TensorRT {old} is too old: .* 8\.6 or later, which comes with JetPack 6; update"
    ):
        parse_version(old)


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(EngineError, match="'unknown', which is no version"):
        parse_version("unknown")


@pytest.mark.parametrize(
    ("version", "precision", "branch"),
    [
        ((8, 6, 2), "fp32", Branch(False, True, (), False)),
        ((8, 6, 2), "int8-trt8", Branch(False, True, ("FP16", "INT8"), True)),
        ((10, 0, 1), "int8", Branch(False, False, ("FP16", "INT8"), True)),
        ((10, 11, 9), "fp16", Branch(False, False, ("FP16",), True)),
        ((10, 12), "int8", Branch(True, False, (), True)),
        ((11, 4, 1), "fp32", Branch(True, False, (), False)),
    ],
)
def test_flags_go_with_weak_typing_only(version: Any, precision: Any, branch: Branch) -> None:
    assert branch_for(version, precision) == branch


@pytest.mark.parametrize(
    ("version", "precision", "use"),
    [
        ((8, 6, 2), "int8", "8.6.2 does not; use precision int8-trt8"),
        ((10, 3), "int8-trt8", "made for TensorRT 8.6, this is 10.3; use precision int8$"),
        ((8, 6, 2), "int8-cpu", "not for TensorRT; use precision int8-trt8$"),
        ((11, 4), "int8-cpu", "not for TensorRT; use precision int8$"),
    ],
)
def test_a_graph_made_for_another_version_is_refused_with_the_right_one(version: Any, precision: Any, use: str) -> None:
    with pytest.raises(EngineError, match=use):
        branch_for(version, precision)


def test_a_branch_reads_as_words() -> None:
    assert str(branch_for((8, 6), "int8-trt8")) == "weak typing, FP16 + INT8, explicit batch"
    assert str(branch_for((10, 3), "fp32")) == "weak typing, no precision flags"
    assert str(branch_for((10, 13), "int8")) == "strong typing"
