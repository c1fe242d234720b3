from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.device.probe import hottest_c, probe


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """A few files as the Linux kernel documentation and NVIDIA's device trees lay them out; not read off a board."""
    files = {
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/meminfo": "MemTotal:        7990000 kB\nMemFree:  100 kB\n",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "sys/class/thermal/thermal_zone0/temp": "45500\n",
        "sys/class/thermal/thermal_zone1/temp": "51250\n",
        "sys/class/thermal/thermal_zone2/temp": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_board_is_named_by_its_device_tree(jetson: Path) -> None:
    machine = probe(jetson)
    assert machine.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.memory_mb == 7990000 // 1024
    assert machine.os == "Ubuntu 22.04.5 LTS"


def test_the_hottest_zone_counts_and_a_sleeping_one_does_not(jetson: Path) -> None:
    assert hottest_c(jetson) == 51.25


def test_this_machine_is_described_and_an_empty_root_does_not_fail(tmp_path: Path) -> None:
    here = probe()
    assert here.cores >= 1
    assert here.memory_mb > 100
    assert here.model
    nowhere = probe(tmp_path)
    assert nowhere.memory_mb == 0
    assert hottest_c(tmp_path) is None
