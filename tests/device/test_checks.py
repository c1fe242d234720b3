"""What is said of a machine's clock, disks, memory, power mode, heat and cables, on the boards' files."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from boards import put, unpack

from jetspect.device import link_checks, system_checks
from jetspect.device.clock import Clock
from jetspect.device.findings import Finding
from jetspect.device.info import DeviceInfo, device_info
from jetspect.device.storage import Space


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    return unpack("orin-nano", tmp_path)


def test_a_clock_of_1970_stops_a_station_and_one_that_runs_free_is_told(nano: Path) -> None:
    info = device_info(nano)
    early = replace(info, clock=Clock(datetime(1970, 1, 1, tzinfo=timezone.utc), None, ""))
    free = replace(info, clock=Clock(info.clock.now, False, "chrony"))
    unknown = replace(info, clock=Clock(info.clock.now, None, ""))
    verdicts = [system_checks.check_clock(i).verdict for i in (info, early, free, unknown)]
    assert verdicts == ["ok", "fail", "warn", "skipped"]
    assert "timedatectl" in system_checks.check_clock(early).fix


@pytest.mark.parametrize(("free_mb", "verdict"), [(127, "fail"), (128, "warn"), (2047, "warn"), (2048, "ok")])
def test_room_on_the_disk_has_two_limits(free_mb: int, verdict: str) -> None:
    assert system_checks.check_space(Space(60000, free_mb), "/").verdict == verdict


def test_a_worn_emmc_is_told_and_a_disk_that_does_not_tell_is_not_guessed(nano: Path, tmp_path: Path) -> None:
    assert system_checks.check_wear(device_info(nano)).verdict == "skipped"
    agx = unpack("agx-orin", tmp_path / "agx")
    assert system_checks.check_wear(device_info(agx)).verdict == "ok"
    put(agx, "sys/block/mmcblk0/device/life_time", "0x03 0x09")
    worn = system_checks.check_wear(device_info(agx))
    assert (worn.verdict, "90 %" in worn.reason) == ("warn", True)
    put(agx, "sys/block/mmcblk0/device/life_time", "0x01 0x01")
    put(agx, "sys/block/mmcblk0/device/pre_eol_info", "0x03")
    assert "urgent" in system_checks.check_wear(device_info(agx)).reason


def test_a_slow_power_mode_names_the_command_for_the_fastest(nano: Path) -> None:
    slow = system_checks.check_power_mode(device_info(nano))
    assert (slow.verdict, slow.fix) == ("warn", "sudo jetspect device power set MAXN_SUPER")
    put(nano, "var/lib/nvpmodel/status", "pmode:0002")
    assert system_checks.check_power_mode(device_info(nano)).verdict == "ok"
    put(nano, "var/lib/nvpmodel/status", "pmode:0009")
    assert system_checks.check_power_mode(device_info(nano)).fix == "sudo nvpmodel -q"


@pytest.mark.parametrize(("milli_c", "verdict"), [(88_900, "ok"), (89_100, "warn"), (99_000, "warn")])
def test_heat_counts_from_where_the_board_throttles(nano: Path, milli_c: int, verdict: str) -> None:
    put(nano, "sys/class/thermal/thermal_zone1/temp", str(milli_c))
    finding = system_checks.check_heat(nano)
    assert finding.verdict == verdict
    assert "gpu-thermal" in finding.reason
    assert ("slowed down now" in finding.reason) == (milli_c >= 99_000)


def test_heat_is_not_judged_without_a_trip_point(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "99000")
    assert system_checks.check_heat(tmp_path).verdict == "skipped"


def test_little_memory_for_a_build_is_told(nano: Path) -> None:
    assert system_checks.check_build_memory(device_info(nano)).verdict == "ok"
    put(nano, "proc/meminfo", "MemTotal: 7802736 kB\nMemAvailable: 1502736 kB")
    little = system_checks.check_build_memory(device_info(nano))
    assert (little.verdict, "no swap" in little.reason) == ("warn", True)


def network(root: Path, packet_size: int | None = None, **card: str) -> Finding:
    for name, value in card.items():
        put(root, f"sys/class/net/enP8p1s0/{name}", value)
    return link_checks.check_camera_network("192.168.2.20", packet_size, root)


def test_the_cameras_network_must_be_up_and_take_its_packets(nano: Path) -> None:
    small = network(nano)
    assert (small.verdict, "mtu 9000" in small.fix) == ("warn", True)
    assert network(nano, 8192).verdict == "fail"
    assert network(nano, 8192, mtu="9000").verdict == "ok"
    assert network(nano, mtu="9000", speed="100").verdict == "warn"
    assert network(nano, operstate="down").verdict == "fail"
    (nano / "proc/net/route").unlink()
    assert network(nano).verdict == "fail"
    assert link_checks.check_camera_network("127.0.0.1", None, nano).verdict == "skipped"


def test_small_receive_buffers_are_told(nano: Path, tmp_path: Path) -> None:
    assert link_checks.check_receive_buffer(nano).fix.startswith("echo net.core.rmem_max=")
    assert link_checks.check_receive_buffer(unpack("agx-orin", tmp_path / "agx")).verdict == "ok"
    assert link_checks.check_receive_buffer(tmp_path / "none").verdict == "skipped"


def test_only_usb_cameras_must_stay_awake(nano: Path, tmp_path: Path) -> None:
    asleep = link_checks.check_usb_awake(nano)
    assert asleep.fix.startswith("echo on | sudo tee /sys/bus/usb/devices/1-2/power/control ")
    put(nano, "sys/bus/usb/devices/1-2/power/control", "on")
    assert link_checks.check_usb_awake(nano).verdict == "ok"
    assert link_checks.check_usb_awake(tmp_path / "none").verdict == "skipped"


def test_a_usb3_vision_camera_must_stay_awake_too(tmp_path: Path) -> None:
    folder = "sys/bus/usb/devices/2-1"
    for number, subclass in enumerate(("02", "05")):  # the first one is no camera
        put(tmp_path, f"{folder}.{number}/power/control", "auto")
        put(tmp_path, f"{folder}.{number}:1.0/bInterfaceClass", "ef")
        put(tmp_path, f"{folder}.{number}:1.0/bInterfaceSubClass", subclass)
    assert [path.name for path in link_checks.usb_cameras(tmp_path)] == ["2-1.1"]
    assert link_checks.check_usb_awake(tmp_path).verdict == "warn"


def test_a_driver_that_does_not_tell_its_state_is_judged_by_its_carrier(nano: Path) -> None:
    assert network(nano, operstate="unknown", carrier="1", mtu="9000").verdict == "ok"
    assert network(nano, operstate="unknown", carrier="0").verdict == "fail"
    assert network(nano, operstate="down", carrier="1").verdict == "fail"


def test_a_newer_python_is_told(nano: Path) -> None:
    info = device_info(nano)

    def of(version: str) -> DeviceInfo:
        return replace(info, software=replace(info.software, python=replace(info.software.python, version=version)))

    assert [system_checks.check_python(of(v)).verdict for v in ("3.10.12", "3.12.3", "3.13.0")] == ["ok", "ok", "warn"]
