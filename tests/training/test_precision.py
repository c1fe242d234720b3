from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.training.precision import bfloat16_pays


@pytest.mark.parametrize(
    ("line", "pays"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu sse2 avx2", False),
        ("model name\t: bf16 9000", False),
    ],
)
def test_a_cpu_needs_the_instructions(tmp_path: Path, line: str, pays: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert bfloat16_pays("cpu", tmp_path / "cpuinfo") is pays


def test_a_gpu_always_has_them_and_an_unreadable_processor_never(tmp_path: Path) -> None:
    assert bfloat16_pays("cuda", tmp_path / "none")
    assert not bfloat16_pays("cpu", tmp_path / "none")
