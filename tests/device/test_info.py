"""What a machine is, read from the files of four boards, of this machine and of none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from boards import BOARDS, put, unpack
from commands import jetspect

from jetspect.device import link_checks, system_checks
from jetspect.device.board import Board
from jetspect.device.gpu import Gpu, read_gpus
from jetspect.device.info import device_info
from jetspect.device.memory import Memory
from jetspect.device.network import interface_to, ipv4_of, read_interfaces, receive_buffer_max
from jetspect.device.packages import installed_packages, upstream
from jetspect.device.power_modes import read_power_modes
from jetspect.device.sensors import Sensors
from jetspect.device.storage import Disk, space


@pytest.mark.parametrize(
    ("board", "module", "l4t", "jetpack", "soc"),
    [
        ("orin-nano", "Jetson Orin Nano 8GB (developer kit)", "36.4.3", "6.2", "tegra234"),
        ("orin-nx", "Jetson Orin NX 16GB", "36.3.0", "6.0", "tegra234"),
        ("agx-orin", "Jetson AGX Orin 64GB", "36.4.4", "6.2.1", "tegra234"),
        ("thor", "Jetson T5000", "38.2.0", "7.0", "tegra264"),
    ],
)
def test_a_board_tells_its_module_and_its_jetpack(
    tmp_path: Path, board: str, module: str, l4t: str, jetpack: str, soc: str
) -> None:
    told = device_info(unpack(board, tmp_path)).board
    assert (told.module, told.l4t, told.jetpack, told.soc) == (module, l4t, jetpack, soc)


@pytest.mark.parametrize(
    ("board", "cuda", "cudnn", "tensorrt", "gpu"),
    [
        ("orin-nano", "12.6.11", "9.3.0.75", "10.3.0.30", Gpu("Orin", "540.4.0", "8.7", 0)),
        ("orin-nx", "12.2.12", "8.9.4.25", "8.6.2.3", Gpu("Orin", "540.4.0", "8.7", 2)),
        ("agx-orin", "12.6.11", "9.3.0.75", "10.3.0.30", Gpu("Orin", "540.4.0", "8.7", 2)),
        ("thor", "13.0.20250804", "9.12.0.46", "10.13.3.9", Gpu("Thor", "580.00", "11.0", 0)),
    ],
)
def test_a_board_tells_what_its_engines_stand_on(
    tmp_path: Path, board: str, cuda: str, cudnn: str, tensorrt: str, gpu: Gpu
) -> None:
    info = device_info(unpack(board, tmp_path))
    assert (info.software.cuda, info.software.cudnn, info.software.tensorrt) == (cuda, cudnn, tensorrt)
    assert info.gpus == (gpu,)


def test_versions_are_read_from_headers_where_no_package_tells(tmp_path: Path) -> None:
    words = {"MAJOR": 10, "MINOR": 3, "PATCH": 0}
    lines = "\n".join(f"#define NV_TENSORRT_{k} {v} //!< part" for k, v in words.items())
    put(tmp_path, "usr/include/aarch64-linux-gnu/NvInferVersion.h", lines)
    cudnn = "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 3\n#define CUDNN_PATCHLEVEL 0"
    put(tmp_path, "usr/include/cudnn_version.h", cudnn)
    software = device_info(tmp_path).software
    assert (software.tensorrt, software.cudnn, software.cuda) == ("10.3.0", "9.3.0", "")


def test_memory_disks_network_and_clock_of_a_board(tmp_path: Path) -> None:
    info = device_info(unpack("agx-orin", tmp_path))
    assert info.memory == Memory(62828, 56847, 40060, 31414, 31414, 6 * 651)
    assert info.disks == (
        Disk("mmcblk0", "emmc", "G1M15L", 60704, worn_percent=20, pre_eol="normal"),
        Disk("nvme0n1", "nvme", "Example NVMe 250GB", 238475),
    )
    card = info.network[0]
    assert [c.name for c in info.network] == ["eth0"]
    assert (card.speed_mbit, card.mtu, card.up, card.physical, card.wireless) == (10000, 9000, True, True, False)
    assert info.clock.synchronised is True
    assert receive_buffer_max(tmp_path) == 33554432


def test_power_modes_are_those_of_nvpmodel_and_the_fastest_has_no_limit(tmp_path: Path) -> None:
    modes = read_power_modes(unpack("orin-nano", tmp_path))
    assert modes.current is not None
    assert (modes.current.name, modes.current.number, modes.default) == ("25W", 1, 1)
    assert ("GPU", "MAX_FREQ", "918000000") in modes.current.settings
    assert modes.fastest is not None
    assert modes.fastest.name == "MAXN_SUPER"
    assert modes.named("maxn_super") == modes.named("2") == modes.fastest
    assert modes.named("60W") is None


def test_the_way_to_a_camera_is_the_most_exact_route(tmp_path: Path) -> None:
    header = "Iface Destination Gateway Flags RefCnt Use Metric Mask"
    rows = ("eth0 00000000 0101A8C0 3 0 0 0 00000000", "eth1 0002A8C0 00000000 1 0 0 0 00FFFFFF", "cut short")
    put(tmp_path, "proc/net/route", "\n".join((header, *rows)))
    ways = [interface_to(a, tmp_path) for a in ("192.168.2.20", "10.0.0.1", "127.0.0.1", "camera-7")]
    assert ways == ["eth1", "eth0", "lo", None]
    assert interface_to("192.168.2.20", tmp_path / "none") is None


def test_an_interface_of_this_machine_has_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ipv4_of("lo"), ipv4_of("no-such-card")) == ("127.0.0.1", "")
    assert {c.name: c.ipv4 for c in read_interfaces()} == {c.name: ipv4_of(c.name) for c in read_interfaces()}
    info = device_info(unpack("agx-orin", tmp_path))
    assert info.network[0].ipv4 == "", "the files of another machine do not tell"
    told = replace(info, network=(replace(info.network[0], ipv4="192.168.2.7"),))
    monkeypatch.setattr("jetspect.cli.device_info.device_info", lambda: told)
    assert "eth0: up, 10000 Mbit/s, MTU 9000, 192.168.2.7" in jetspect("device", "info").stdout


def test_half_written_and_odd_files_do_not_stop_the_others(tmp_path: Path) -> None:
    root = unpack("orin-nano", tmp_path)
    (root / "proc/meminfo").write_bytes(b"MemTotal:\nMemFree: many kB\n\xff\xfe")
    (root / "etc/nv_tegra_release").write_text("R36")
    (root / "var/lib/dpkg/status").write_text(
        "Package: nvidia-l4t-core\nStatus: deinstall ok config-files\nVersion: 36.4.3-1\n\n\nPackage"
    )
    put(root, "usr/local/cuda/version.json", "[1]")
    put(root, "etc/nvpmodel.conf", "< POWER_MODEL ID=x NAME=15W >")
    info = device_info(root)
    assert info.memory.total_mb == 0
    assert (info.board.l4t, info.board.jetpack, info.board.soc) == ("", "", "tegra234")
    assert info.power.modes == ()
    assert installed_packages(root) == {}


@pytest.mark.parametrize(
    "odd", [b"", b"\xff\xfe\x00", b"-1", b"9" * 400, b"nan", b"A B C D E F G H\nzz 1 2 3 4 5 6 7\neth0 ZZ 0 0 0 0 0 QQ"]
)
def test_whatever_stands_in_the_files_is_no_error(tmp_path: Path, odd: bytes) -> None:
    root = unpack("agx-orin", tmp_path)
    for path in list(root.rglob("*")):
        if path.is_file() and path.name not in ("name", "type", "in1_label"):  # else there would be nothing to read
            path.write_bytes(odd)
    info = device_info(root)
    assert json.dumps(info.as_dict())
    sensors = Sensors(root)
    assert all(abs(watts) < 1e12 for watts in sensors.read().power_w.values())
    sensors.close()
    told = [link_checks.check_camera_network("192.168.2.20", 9000, root), link_checks.check_receive_buffer(root)]
    told += [
        check(info) for check in (system_checks.check_wear, system_checks.check_power_mode, system_checks.check_clock)
    ]
    assert all(finding.reason for finding in (*told, system_checks.check_heat(root)))


def test_an_empty_root_is_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    info = device_info(tmp_path)
    assert info.board == Board()
    assert (info.gpus, info.disks, info.network, info.power.modes) == ((), (), (), ())
    assert info.clock.synchronised is None


def test_a_desktop_gpu_is_named_by_its_driver(tmp_path: Path) -> None:
    put(tmp_path, "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar")
    put(tmp_path, "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA L4\nIRQ: 1")
    assert read_gpus(Board(), tmp_path) == (Gpu("NVIDIA L4", "550.54.15"),)


def test_room_is_told_for_what_is_not_there_yet(tmp_path: Path) -> None:
    here, later = space(tmp_path), space(tmp_path / "not" / "yet")
    assert here is not None
    assert later is not None
    assert later.total_mb == here.total_mb > 0


def test_a_debian_version_is_cut_to_its_makers_own() -> None:
    cut = {v: upstream(v) for v in ("1:10.3.0.30-1+cuda12.5", "6.2+b77", "9.3", "")}
    assert list(cut.values()) == ["10.3.0.30", "6.2", "9.3", ""]


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_is_plain_data(tmp_path: Path, board: str) -> None:
    told = device_info(unpack(board, tmp_path)).as_dict()
    assert json.loads(json.dumps(told))["board"]["module"]
    assert told["power"]["mode"] in told["power"]["modes"].values()


def test_the_command_describes_a_board_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = unpack("agx-orin", tmp_path)
    monkeypatch.setattr("jetspect.cli.device_info.device_info", lambda: device_info(root))
    lines = {line.partition("  ")[0]: line for line in jetspect("device", "info").stdout.splitlines()}
    assert "Jetson AGX Orin 64GB (p3701-0005, tegra234)" in lines["module"]
    assert "6.2.1 (L4T 36.4.4)" in lines["JetPack"]
    assert "Orin, driver 540.4.0, compute capability 8.7, 2 DLA" in lines["GPU"]
    assert "MAXN" in lines["power mode"]
    assert "eth0: up, 10000 Mbit/s, MTU 9000" in lines["network"]
    assert "synchronised by systemd-timesyncd" in lines["clock"]


def test_the_command_describes_this_machine_in_words_and_as_json() -> None:
    words = jetspect("device", "info")
    assert words.returncode == 0
    assert "memory" in words.stdout
    told = json.loads(jetspect("device", "info", "--json").stdout)
    assert told["memory"]["total_mb"] > 100
    assert told["software"]["python"]["executable"]
    assert told["clock"]["synchronised"] in (True, False, None)
