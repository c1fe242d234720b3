"""Sensors of boards, the thread that watches them, and energy."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import put, unpack

from jetspect.device.energy import EnergyMeter
from jetspect.device.monitor import DeviceMonitor
from jetspect.device.rails import find_rails, input_power_w
from jetspect.device.sensors import Sample, Sensors


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    return unpack("orin-nano", tmp_path)


@pytest.fixture
def watched(nano: Path) -> Iterator[tuple[Path, DeviceMonitor, Clock]]:
    """A board, and a monitor that samples when told."""
    clock = Clock()
    with DeviceMonitor(Sensors(nano), clock=clock) as monitor:
        yield nano, monitor, clock


def read(root: Path) -> Sample:
    sensors = Sensors(root)
    try:
        return sensors.read()
    finally:
        sensors.close()
        sensors.close()


def test_an_orin_tells_heat_power_clocks_loads_fan_and_memory(nano: Path) -> None:
    sample = read(nano)
    assert sample.temperatures_c["gpu-thermal"] == 50.312
    assert "cv0-thermal" not in sample.temperatures_c, "its sensor sleeps"
    assert sample.power_w["VDD_IN"] == pytest.approx(5.048 * 1.312)
    assert dict(sample.clocks_mhz) == {"cpu": 1510.4, "gpu": 624.75, "emc": 2133.0}
    assert (sample.loads["gpu"], sample.fan_rpm, sample.over_current_events) == (0.437, 2134, 2)
    assert sample.memory_available_bytes == 5410032 * 1024
    assert sample.slowed_by == ()


def test_thor_measures_its_input_with_another_chip(tmp_path: Path) -> None:
    sample = read(unpack("thor", tmp_path))
    assert sample.power_w["VIN"] == 38.25
    assert sample.clocks_mhz["gpu"] == 1575.0
    assert input_power_w(sample.power_w) == 38.25


@pytest.mark.parametrize(
    ("power_w", "total"),
    [
        ({}, None),
        ({"VDD_IN": 7.0, "VDD_SOC": 2.0}, 7.0),
        ({"VDD_GPU_SOC": 4.0, "VDD_CPU_CV": 1.0, "VIN_SYS_5V0": 3.0, "VDDQ_VDD2_1V8AO": 0.5}, 8.0),
    ],
)
def test_no_watt_counts_twice(power_w: dict[str, float], total: float | None) -> None:
    assert input_power_w(power_w) == total


def test_unused_channels_of_a_chip_are_no_rails(nano: Path) -> None:
    put(nano, "sys/class/hwmon/hwmon3/in2_label", "NC")
    assert [rail.name for rail in find_rails(nano)] == ["VDD_IN", "VDD_SOC"]


def test_a_machine_without_sensors_has_an_empty_sample(tmp_path: Path) -> None:
    assert read(tmp_path) == Sample()


def test_zones_of_one_name_are_numbered(tmp_path: Path) -> None:
    for n, milli_c in enumerate((20000, 30000, 40000)):
        put(tmp_path, f"sys/class/thermal/thermal_zone{n}/type", "acpitz")
        put(tmp_path, f"sys/class/thermal/thermal_zone{n}/temp", str(milli_c))
    assert dict(read(tmp_path).temperatures_c) == {"acpitz": 20.0, "acpitz-2": 30.0, "acpitz-3": 40.0}


def test_the_load_is_what_was_not_idle_between_two_samples(tmp_path: Path) -> None:
    put(tmp_path, "proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3")
    sensors = Sensors(tmp_path)
    assert sensors.read().loads == {}
    put(tmp_path, "proc/stat", "cpu  130 0 110 860 0 0 0 0 0 0\ncpu0 1 2 3")
    assert sensors.read().loads == {"cpu": pytest.approx(0.4)}
    put(tmp_path, "proc/stat", "cpu  ")
    assert sensors.read().loads == {}
    sensors.close()


def test_a_fan_or_a_skin_alert_slows_nothing(nano: Path) -> None:
    put(nano, "sys/class/thermal/cooling_device0/cur_state", "3")
    put(nano, "sys/class/thermal/cooling_device9/type", "hot-surface-alert")
    put(nano, "sys/class/thermal/cooling_device9/cur_state", "1")
    assert read(nano).slowed_by == ()


def test_x86_counts_how_often_it_was_throttled(tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    put(tmp_path, count, "7")
    sensors = Sensors(tmp_path)
    assert sensors.read().slowed_by == ()
    put(tmp_path, count, "8")
    assert [sensors.read().slowed_by for _ in range(2)] == [("processor",), ()]
    sensors.close()


def test_a_frame_is_marked_when_the_device_was_slowed_meanwhile_and_not_later(
    watched: tuple[Path, DeviceMonitor, Clock],
) -> None:
    root, monitor, clock = watched
    assert (monitor.state(), monitor.throttled_since(0)) == (None, "")
    monitor.sample()
    assert monitor.throttled_since(clock.now) == ""
    put(root, "sys/class/thermal/cooling_device1/cur_state", "2")
    monitor.sample()
    clock.now += 0.9
    assert monitor.throttled_since(clock.now) == "cpufreq-cpu0"
    put(root, "sys/class/thermal/cooling_device1/cur_state", "0")
    monitor.sample()
    assert monitor.throttled_since(100.5) == "cpufreq-cpu0", "a frame that was begun while it was slowed"
    clock.now += 1.0
    assert monitor.throttled_since(clock.now) == "", "and none after it, even where no sample comes any more"
    state = monitor.state()
    assert state is not None
    assert (state.throttled_s, state.throttled_by) == (1.0, ())


def test_over_current_events_count_from_the_start(watched: tuple[Path, DeviceMonitor, Clock]) -> None:
    root, monitor, clock = watched
    monitor.sample()
    put(root, "sys/class/hwmon/hwmon2/oc1_event_cnt", "3")
    monitor.sample()
    state = monitor.state()
    assert state is not None
    assert (state.over_current_events, state.throttled_by) == (3, ("over-current",))
    assert monitor.throttled_since(clock.now) == "over-current"


def test_the_thread_samples_by_itself_and_ends(nano: Path) -> None:
    monitor = DeviceMonitor(Sensors(nano), interval_s=0.01).start()
    put(nano, "sys/class/thermal/cooling_device2/cur_state", "1")
    deadline = time.monotonic() + 10
    while not monitor.throttled_since(time.monotonic()):
        assert time.monotonic() < deadline, "the thread takes no samples"
    monitor.close()
    monitor.close()
    assert "jetspect-device" not in {t.name for t in threading.enumerate()}


def test_sensors_that_break_end_the_watching_and_nothing_else(nano: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Sensors):
        def read(self) -> Sample:
            raise ValueError("odd")

    with DeviceMonitor(Broken(nano), interval_s=0.01).start() as monitor:
        pass
    assert monitor.state() is None
    assert "not looked at any more" in caplog.text


def test_energy_is_power_times_time(nano: Path) -> None:
    with EnergyMeter(nano, interval_s=0.01) as meter:
        began = time.monotonic()
        while time.monotonic() - began < 0.05:
            pass
        seconds = time.monotonic() - began
    assert meter.joules is not None
    assert meter.joules == pytest.approx(5.048 * 1.312 * seconds, rel=0.5)
    assert meter.per_megapixel(20.0) == meter.joules / 20.0
    assert meter.per_megapixel(0) is None


def test_a_machine_without_rails_has_no_energy(tmp_path: Path) -> None:
    with EnergyMeter(tmp_path) as meter:
        pass
    assert (meter.joules, meter.per_megapixel(1.0)) == (None, None)
