"""Against Aravis' own GigE Vision camera, which speaks the real protocol on loopback."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import jetspect

from jetspect.benchmarks.plant import GigeCamera
from jetspect.errors import InputError, MissingDependencyError, SourceError
from jetspect.runtime.frames import Frame, LostCause, LostFrame, Source, SourceCounters, Triggerable, utc_now
from jetspect.runtime.sources import aravis
from jetspect.runtime.sources.aravis import AravisCamera, Grab, find_cameras
from jetspect.runtime.sources.gige import GigeSettings, GigeSource, blocks_between


def settings(**changes: Any) -> GigeSettings:
    quick = {"ip": "127.0.0.1", "retry_s": 0.05, "retry_max_s": 0.2, "frame_rate_hz": 50, "roi": (0, 0, 256, 128)}
    return GigeSettings(**{"packet_size": 8192, **quick, **changes})


def test_a_camera_is_found_by_its_serial_number(camera: Any) -> None:
    camera.start()
    (found,) = find_cameras()
    assert (found.serial, found.address, found.model) == ("GV01", "127.0.0.1", "Fake")
    GigeSource(settings(ip=None, serial="GV01")).close()
    with pytest.raises(SourceError, match=r"no GigE camera with serial 'GV02' answers; found: GV01 \(Aravis Fake at"):
        GigeSource(settings(ip=None, serial="GV02", at_start="fail"))


def test_a_camera_that_took_over_the_address_of_another_is_not_used(
    camera: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address may be given anew between looking for a serial number and connecting."""
    camera.start()
    other = GigeCamera("GV02")
    look_up = aravis._address

    def and_swap(where: str) -> str:
        address = look_up(where)
        camera.kill()
        other.start()
        return address

    monkeypatch.setattr(aravis, "_address", and_swap)
    try:
        with pytest.raises(SourceError, match="camera GV01 was looked for and GV02 answers at its address"):
            AravisCamera("GV01")
        monkeypatch.undo()
        held = AravisCamera("127.0.0.1")  # it was let go
        assert held.serial == "GV02"
        held.close()
    finally:
        other.kill()


def test_the_command_lists_cameras(camera: Any) -> None:
    camera.start()
    listed = jetspect("camera", "list", "--json")
    assert [c["serial"] for c in json.loads(listed.stdout)["cameras"]] == ["GV01"]
    camera.kill()
    nothing = json.loads(jetspect("camera", "list", "--json").stdout)
    assert (nothing["cameras"], nothing["not_searched"]) == ([], None)


def test_the_command_looks_through_a_camera(camera: Any, tmp_path: Path) -> None:
    camera.start()
    grabbed = jetspect("camera", "grab", "--gige", "127.0.0.1", "--out", tmp_path / "x.png", "--json")
    assert json.loads(grabbed.stdout)["size_wh"] == [512, 512]
    looked = jetspect("camera", "focus", "--gige", "127.0.0.1", "--frames", 3, "--json")
    assert [json.loads(line)["focus"] > 0 for line in looked.stdout.splitlines()] == [True] * 3
    recorded = jetspect("camera", "record", "--gige", "127.0.0.1", "--out", tmp_path / "r", "--frames", 3)
    assert recorded.returncode == 0, recorded.stderr
    assert len((tmp_path / "r" / "frames.jsonl").read_text().splitlines()) == 3


def test_without_aravis_the_list_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    said = json.loads(jetspect("camera", "list", "--json").stdout)
    assert "no GigE Vision camera was looked for: PyGObject (gi) is needed" in said["not_searched"]


def test_frames_come_with_size_time_and_running_numbers(camera: Any, take: Callable[[Source], Any]) -> None:
    camera.start()
    before = datetime.now(timezone.utc)
    taker = take(GigeSource(settings(clock="camera")))
    taker.more(10)
    taker.end()
    frames = taker.frames
    assert not taker.lost
    assert [f.frame_id for f in frames] == [f"{n:08d}" for n in range(1, len(frames) + 1)]
    assert {f.size_wh for f in frames} == {(256, 128)}
    assert all(f.image.dtype == np.uint8 and f.image.ndim == 2 and f.image.std() > 10 for f in frames)
    times = [f.captured_at for f in frames]
    assert times == sorted(times)
    assert before < times[0] < times[-1] < datetime.now(timezone.utc)
    assert taker.source.counters().missed == 0


def test_a_camera_clock_that_does_not_follow_utc_is_said(camera: Any) -> None:
    camera.start()
    with GigeSource(settings(clock="camera")) as source:
        grab = Grab(block=1, host_ns=10**18, camera_ns=5 * 10**9, size_wh=(256, 128), data=bytes(256 * 128), fault=None)
        item = source._item(grab, utc_now())
    assert isinstance(item, LostFrame)
    assert "its clock is -999999995 s from this machine's: set both by PTP, or set clock to host" in item.reason
    assert item.cause is LostCause.UNEXPECTED


@pytest.mark.parametrize(("pixel_format", "channels"), [("BayerRG8", 3), ("RGB8", 3), ("Mono16", 1)])
def test_pixel_formats_arrive_as_grey_or_bgr(
    camera: Any, take: Callable[[Source], Any], pixel_format: str, channels: int
) -> None:
    camera.start()
    taker = take(GigeSource(settings(pixel_format=pixel_format)))
    taker.more(1)
    assert taker.frames[0].image.shape == ((128, 256, 3) if channels == 3 else (128, 256))


def test_a_camera_that_dies_and_comes_back_goes_on(
    camera: Any, take: Callable[[Source], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    camera.start()
    source = GigeSource(settings())
    taker = take(source)
    taker.more(3)
    assert source.counters().connected
    camera.kill()
    taker.wait(lambda: not source.counters().connected, "noticing that the camera is gone")
    camera.start()
    taker.more(5)
    counters = source.counters()
    assert (counters.connected, counters.reconnects) == (True, 1)
    assert re.search(
        r"camera 127\.0\.0\.1 (no longer answers|sent no frame for).*; trying again in 0\.0\d? s", caplog.text
    )
    assert "camera 127.0.0.1 is there again" in caplog.text
    ids = [f.frame_id for f in taker.items]
    assert len(set(ids)) == len(ids)


def test_frames_that_lost_packets_are_never_used(camera: Any, take: Callable[[Source], Any]) -> None:
    camera.start("-r", "5")
    before = datetime.now(timezone.utc)
    source = GigeSource(settings(roi=(0, 0, 512, 512)))
    taker = take(source)
    taker.wait(lambda: any("packets of it" in i.reason for i in taker.lost), "a frame that lost packets")
    taker.more(20)
    taker.end()
    assert source.counters().packets_missing > 0
    assert {i.cause for i in taker.lost} <= {LostCause.INCOMPLETE, LostCause.MISSED}
    assert all(i.cause is LostCause.INCOMPLETE for i in taker.lost if "packets of it" in i.reason)
    assert all(i.captured_at >= before for i in taker.items)
    # The fake camera draws a wedge that moves by a level per frame; a packet of another frame would break it.
    for frame in taker.frames:
        assert set(np.unique(np.diff(frame.image.astype(int), axis=0))) <= {1, -254}


def test_frames_that_found_no_buffer_are_delivered_as_lost(camera: Any) -> None:
    camera.start()
    with GigeSource(settings(buffers=2)) as source:
        items: list[Frame | LostFrame] = []
        for item in source:
            items.append(item)
            if len(items) == 1:
                time.sleep(0.3)  # long enough for 15 frames
            if len(items) == 30:
                source.stop()
    lost = [i for i in items if isinstance(i, LostFrame) and "no buffer was free" in i.reason]
    assert len(lost) >= 3
    assert source.counters().missed == len(lost)
    assert {i.cause for i in lost} == {LostCause.MISSED}
    assert [i.frame_id for i in items] == [f"{n:08d}" for n in range(1, len(items) + 1)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": {"Exposure": 5}}, r"no feature 'Exposure'; near: Exposure\w+.* All of them: arv-tool"),
        ({"exposure_us": 5.0}, r"refuses ExposureTimeAbs = 5\.0: .*lower than allowed.*takes 10 to 1e\+07"),
        ({"gain": 0.5}, r"GainRaw takes a whole number; it takes 0 to 10; got 0\.5"),
        ({"gain": 11}, r"refuses GainRaw = 11"),
        ({"pixel_format": "Mono12"}, r"refuses PixelFormat = 'Mono12': .*it takes BayerBG8, .*Mono8"),
        ({"roi": (1000, 0, 2048, 100)}, r"ends at 3048 x 100 px, the sensor ends at 2048 x 2048"),
        ({"trigger": "Line9", "frame_rate_hz": None}, r"refuses TriggerSource = 'Line9'.*it takes Line0, Software"),
        ({"features": {"TriggerSoftware": 3}}, "is a command; only true"),
        ({"features": {"ImageFormatControl": 3}}, "is a group of features"),
        ({"features": {"GainAuto": "Sometimes"}}, "it takes Off"),
    ],
)
def test_what_the_camera_does_not_take_is_said(camera: Any, changes: dict[str, Any], says: str) -> None:
    camera.start()
    with pytest.raises(InputError, match=says):
        GigeSource(settings(**changes))
    GigeSource(settings()).close()  # and the camera is free again


def test_settings_reach_the_camera(camera: Any) -> None:
    camera.start()
    source = GigeSource(
        settings(roi=(64, 32, 320, 240), exposure_us=1234, gain=7, packet_size=4000, features={"GainAuto": "Off"})
    )
    source.close()
    held = AravisCamera("127.0.0.1")
    names = ("OffsetX", "OffsetY", "Width", "Height", "ExposureTimeAbs", "GainRaw", "GevSCPSPacketSize")
    device = held.handle.get_device()
    assert [float(device.get_feature(n).get_value_as_string()) for n in names] == [64, 32, 320, 240, 1234, 7, 4000]
    del device
    held.close()


@pytest.mark.parametrize(
    ("trigger", "edge", "held"),
    [("Line0", "FallingEdge", "FallingEdge"), ("Line0", None, "RisingEdge"), ("Software", None, "RisingEdge")],
)
def test_a_trigger_reaches_the_camera(
    camera: Any, told_otherwise: Callable[[str, str], Path], trigger: str, edge: str | None, held: str
) -> None:
    """As far as the fake camera goes, which knows one edge until it is told of another, and has no wire."""
    rising = '<EnumEntry Name="RisingEdge" NameSpace="Standard">'
    falling = f"{rising.replace('Rising', 'Falling')}<Value>1</Value></EnumEntry>"
    camera.start("-g", str(told_otherwise(rising, falling + rising)))
    GigeSource(settings(trigger=trigger, trigger_edge=edge, frame_rate_hz=None)).close()
    opened = AravisCamera("127.0.0.1")
    device = opened.handle.get_device()
    names = ("TriggerSelector", "TriggerSource", "TriggerActivation", "TriggerMode")
    assert [device.get_feature(n).get_value_as_string() for n in names] == ["FrameStart", trigger, held, "On"]
    del device
    opened.close()


def test_a_camera_that_is_not_there_is_said(camera: Any) -> None:
    with pytest.raises(SourceError, match=r"camera 127\.0\.0\.1 does not answer .*check its power"):
        GigeSource(settings(at_start="fail"))
    camera.start()
    GigeSource(settings(at_start="fail")).close()


def test_a_camera_that_is_not_there_yet_is_waited_for(camera: Any, take: Callable[[Source], Any]) -> None:
    source = GigeSource(settings())
    assert not source.counters().connected
    assert "camera 127.0.0.1 does not answer" in source.counters().fault
    taker = take(source)
    camera.start()
    taker.more(1)
    assert source.counters() == dataclasses.replace(SourceCounters(), packets_resent=source.counters().packets_resent)


def test_the_station_may_trigger_it(camera: Any, take: Callable[[Source], Any]) -> None:
    """No frame without a trigger, one for each, and the exposure time stands with it."""
    camera.start()
    source = GigeSource(settings(trigger="Software", frame_rate_hz=None, exposure_us=5000))
    with pytest.raises(SourceError, match="is not there"):
        source.fire()
    taker = take(source)
    taker.wait(lambda: source.counters().connected, "the camera stands ready")
    assert isinstance(source, Triggerable)
    for count in (1, 2):
        source.fire()
        taker.wait(lambda n=count: len(taker.frames) == n, f"frame {count}")
    assert {f.exposure_us for f in taker.frames} == {5000.0}
    taker.end()
    with pytest.raises(SourceError, match="is not there"):
        source.fire()


def test_a_camera_that_is_said_to_be_there_takes_a_trigger(
    camera: Any, take: Callable[[Source], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.start()
    source = GigeSource(settings(trigger="Software", frame_rate_hz=None))
    up = source._up
    monkeypatch.setattr(source, "_up", lambda: (up(), source.fire()))
    take(source).more(1)


def test_a_camera_that_is_closed_just_then_says_so(camera: Any) -> None:
    """A connection may break between looking at it and triggering."""
    camera.start()
    held = AravisCamera("127.0.0.1")
    held.close()
    with pytest.raises(SourceError, match="is not there"):
        held.fire()


def test_a_triggered_camera_may_wait_and_a_free_running_one_may_not(camera: Any, take: Callable[[Source], Any]) -> None:
    camera.start()
    waiting = take(GigeSource(settings(trigger="Line0", frame_rate_hz=None, timeout_s=0.2)))
    waiting.wait(lambda: waiting.source.counters().connected, "the camera stands ready")
    assert not waiting.ended
    waiting.end()
    assert waiting.source.counters().reconnects == 0


def test_another_size_after_a_restart_is_unusable_and_says_so(camera: Any, take: Callable[[Source], Any]) -> None:
    camera.start()
    other = AravisCamera("127.0.0.1")
    other.handle.set_region(0, 0, 300, 200)
    other.close()
    source = GigeSource(settings(roi=None))
    taker = take(source)
    taker.more(2)
    camera.kill()
    camera.start()  # with its own 512 x 512
    taker.wait(lambda: "has 512 x 512 px in grey, the first ones had 300 x 200" in str(taker.lost[-1:]), "lost frames")
    assert {f.size_wh for f in taker.frames} == {(300, 200)}


@pytest.mark.parametrize(
    ("before", "now", "missed"),
    [(1, 2, 0), (1, 5, 3), (65535, 1, 0), (65534, 2, 2), (500, 1, 0), (7, 7, 0), (2**40, 2**40 + 3, 2), (70000, 1, 0)],
)
def test_the_camera_s_count_wraps_and_starts_anew(before: int, now: int, missed: int) -> None:
    assert blocks_between(before, now) == missed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ip": None}, "give one of serial and ip"),
        ({"serial": "GV01"}, "give one of serial and ip"),
        ({"trigger": "Software", "frame_rate_hz": None, "trigger_edge": "RisingEdge"}, "trigger_edge is for an input"),
        ({"trigger": "Line1"}, "frame_rate_hz is for free running"),
        ({"trigger_edge": "RisingEdge"}, "is for a trigger"),
        ({"roi": (0, 0, 0, 5)}, "width and height from 1"),
        ({"pixel_format": "YUV422_8"}, "is none of Mono8"),
        ({"packet_size": 100_000}, "less than or equal to 16384"),
        ({"retry_s": 5.0}, "is shorter than retry_s"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settings(**changes)


def test_without_pygobject_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingDependencyError, match=r"PyGObject .*apt-get install gir1\.2-aravis-0\.8 python3-gi"):
        GigeSource(settings())
