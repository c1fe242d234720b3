"""What a machine without a GPU answers. The driver at work is tested with ``make pycuda-test`` and on GPUs."""

from __future__ import annotations

import importlib.util

import pytest

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.cuda.driver import PyCuda
from jetspect.runtime.cuda.graph import StreamRecorder


def test_a_machine_without_pycuda_or_driver_says_what_is_missing() -> None:
    if importlib.util.find_spec("pycuda") is None:
        with pytest.raises(MissingDependencyError, match=r"PyCUDA is needed .* pip install 'jetspect\[cuda\]'"):
            PyCuda()
    else:
        with pytest.raises(EngineError, match=r"no CUDA driver|cannot open the device"):
            PyCuda()


def test_no_library_to_record_graphs_with() -> None:
    with pytest.raises(EngineError, match=r"libnothing.so.1 cannot be loaded .*install NVIDIA's driver"):
        StreamRecorder(0, "libnothing.so.1")
