"""The doctor on stations with real parts, on boards' files, and with checks that hang or break."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from boards import unpack
from commands import REPOSITORY, jetspect

from jetspect.device.findings import Finding, fail, ok, skipped, warn
from jetspect.device.software import Python
from jetspect.errors import InputError, MissingDependencyError
from jetspect.runtime.doctor import engine_checks, fixes, station_checks
from jetspect.runtime.doctor.examine import examine, would_run
from jetspect.runtime.doctor.patient import Patient, admit
from jetspect.runtime.doctor.registry import Check, checks_for
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings
from jetspect.runtime.sources.video import VideoSettings

Station = Callable[..., Path]


@pytest.fixture
def station(tmp_path: Path) -> Station:
    def write(more: str = "", bundle: str = f"{REPOSITORY}/bundles/metal-demo") -> Path:
        file = tmp_path / "station.toml"
        source = "" if "[source]" in more else '[source]\nkind = "synthetic"\nframes = 1'
        names = "\n".join(f'{level} = "{level}"' for level in ("site", "area", "line", "unit"))
        file.write_text(f'[station]\n{names}\n[bundle]\npath = "{bundle}"\n{source}\n{more}\n')
        return file

    return write


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends checks that hang, after the test."""
    event = threading.Event()
    yield event
    event.set()


def answers(file: Path | None, root: Path = Path("/"), only: str = "") -> dict[str, Finding]:
    return dict(examine(check for check in checks_for(admit(file, root)) if only in check.name))


def test_a_check_that_hangs_is_given_up_and_the_next_ones_run(release: threading.Event) -> None:
    def hang() -> Finding:
        release.wait(30)
        return ok("late")

    told = dict(examine([Check("slow", hang, 0.05), Check("next", lambda: ok("here"))]))
    assert told["slow"].verdict == "fail"
    assert "within 0.05 s" in told["slow"].reason
    assert told["next"] == ok("here")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(3), KeyboardInterrupt()])
def test_a_check_that_breaks_is_a_failure_with_its_reason(error: BaseException) -> None:
    def broken() -> Finding:
        raise error

    (_, finding), (_, after) = examine([Check("bad", broken), Check("next", lambda: ok("here"))])
    assert (finding.verdict, type(error).__name__ in finding.reason, after.verdict) == ("fail", True, "ok")


def test_the_command_that_an_error_names_is_the_fix() -> None:
    def missing() -> Finding:
        raise MissingDependencyError("x", "y", "pip install x")

    def plain() -> Finding:
        raise InputError("a value is wrong; take another")

    told = dict(examine([Check("a", missing), Check("b", plain)]))
    assert told["a"] == fail("x is needed for y but is not installed", "pip install x")
    assert told["b"] == fail("a value is wrong; take another")


def test_a_station_runs_where_nothing_failed() -> None:
    assert would_run([])
    assert would_run([ok("a"), warn("b"), skipped("c")])
    assert not would_run([ok("a"), fail("b")])


def test_a_whole_station_passes_with_a_real_broker_and_certificates(
    tmp_path: Path, station: Station, mosquitto: Callable[..., Any]
) -> None:
    authority = Authority(tmp_path, "plant-ca")
    cert, key = authority.issue("broker")
    broker = mosquitto(listener=authority.listener(cert, key))
    own = authority.issue("station", days=60)
    tls = f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n[broker.tls]\nca = "{authority.ca}"\n'
    done = jetspect("device", "doctor", station(f'{tls}cert = "{own[0]}"\nkey = "{own[1]}"\n[evidence]'), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    lines = {line["name"]: line for line in told["checks"]}
    assert {lines[n]["verdict"] for n in ("bundle", "graph", "golden tiles", "camera", "broker")} == {"ok"}
    assert {"outbox folder", "evidence folder", "clock", "disk space"} <= lines.keys()
    # Certificates that the broker does not take, end soon, or have ended.
    stranger = Authority(tmp_path, "other-ca").issue("stranger")
    soon, ended = authority.issue("soon", days=2), authority.issue("ended", begins=-3, days=-1)
    found = [
        answers(station(f'{tls}cert = "{c}"\nkey = "{k}"'), only="broker")["broker"] for c, k in (stranger, soon, ended)
    ]
    assert [f.verdict for f in found] == ["fail", "warn", "fail"]
    assert found[0].fix.startswith(f"openssl s_client -connect 127.0.0.1:{broker.port} -verify_return_error -CAfile ")
    assert found[2].fix == f"openssl x509 -noout -subject -dates -in {ended[0]}"
    assert "ended at" in found[2].reason


def test_what_keeps_a_station_from_running_is_named_and_the_exit_code_is_1(station: Station, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = '[source]\nkind = "folder"\npath = "nowhere"\n'
    more = f'{source}[outbox]\npath = "file/o.sqlite"\n[broker]\nport = 1\nhost = "127.0.0.1"'
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more += f"\n[metrics]\nport = {taken.getsockname()[1]}"
        file = station(more, bundle="no-bundle")
        done = jetspect("device", "doctor", file)
        beside = json.loads(jetspect("device", "doctor", file, "--beside", "--json").stdout)
    assert done.returncode == 1
    failed = [line.split("  ")[2].strip() for line in done.stdout.splitlines() if line.startswith("fail")]
    assert failed == ["bundle", "camera", "outbox folder", "metrics", "broker"]
    assert "nothing listens there" in done.stdout
    # What a running station holds is left alone, and nothing else.
    held = [line["name"] for line in beside["checks"] if "running station" in line["reason"]]
    assert held == ["camera", "metrics"]
    assert [line["name"] for line in beside["checks"] if line["verdict"] == "fail"] == [
        "bundle",
        "outbox folder",
        "broker",
    ]


def test_settings_that_do_not_fit_the_bundle_are_found(station: Station) -> None:
    told = answers(station("[tiling]\ntile_px = 17"), only="golden")
    assert told["golden tiles"].verdict == "fail"


def test_a_station_file_with_faults_is_a_finding_and_the_machine_is_examined(station: Station) -> None:
    told = answers(station("unknown = 1"))
    assert told["station file"].verdict == "fail"
    assert "unknown" in told["station file"].reason
    assert "\n" not in answers(station("a = 1\nb = 2"), only="file")["station file"].reason
    assert {"clock", "python"} <= told.keys()


def test_a_file_that_is_not_there_is_an_error() -> None:
    done = jetspect("device", "doctor", "nowhere.toml", "--json")
    assert done.returncode == 2
    assert "does not exist" in json.loads(done.stdout)["error"]["message"]


def test_a_stream_must_deliver_a_frame() -> None:
    def camera(pipeline: str) -> Finding:
        return station_checks.check_camera(GStreamerSettings(pipeline=f"{pipeline} ! appsink", retry_s=0.1))

    assert camera("videotestsrc ! video/x-raw,width=64,height=48") == ok("a frame of 64 x 48 px came")
    missing = camera("filesrc location=/nowhere.mp4 ! decodebin")
    assert (missing.verdict, "nowhere.mp4" in missing.reason) == ("fail", True)
    assert missing.fix == "gst-launch-1.0 -v filesrc location=/nowhere.mp4 ! decodebin ! fakesink"


def test_a_failing_line_names_something_to_type(station: Station, tmp_path: Path) -> None:
    told = answers(station('[source]\nkind = "folder"\npath = "nowhere"\n[broker]\nport = 1\nhost = "127.0.0.1"'))
    assert told["camera"].fix == f"ls -ld {tmp_path / 'nowhere'}"
    assert told["broker"].fix == "nc -vz 127.0.0.1 1"
    assert fixes.for_camera(GigeSettings(ip="192.0.2.1")).startswith("arv-tool-0.8 ")
    assert fixes.for_camera(VideoSettings(device="rtsp://u:secret@c/1")).startswith(
        "gst-discoverer-1.0 rtsp://u:PASSWORD@c/1 "
    )
    csi = GStreamerSettings(pipeline="nvarguscamerasrc ! video/x-raw(memory:NVMM),width=8 ! appsink name=a sync=false")
    assert fixes.for_camera(csi) == "gst-launch-1.0 -v nvarguscamerasrc ! 'video/x-raw(memory:NVMM),width=8' ! fakesink"
    secret = GStreamerSettings(pipeline="rtspsrc location=rtsp://u:secret@c/1 user-pw=secret ! decodebin ! appsink")
    assert "secret" not in fixes.for_camera(secret)
    assert fixes.for_camera(VideoSettings(device="0")).startswith("v4l2-ctl --list-devices ")


def test_slots_and_engines_need_room_too(tmp_path: Path, station: Station) -> None:
    file = station("[engine]\nkind = 'tensorrt'\nfolder = 'engines'")
    file.write_text(file.read_text().replace("path = ", "slots = "))
    found = station_checks.folders_of(admit(file))
    assert found["engine"][0] == tmp_path / "engines"
    assert found["slots"][0] == REPOSITORY / "bundles" / "metal-demo"


def test_a_bundle_on_a_board_takes_the_graph_that_its_tensorrt_reads(tmp_path: Path) -> None:
    """TensorRT 8.6 refuses the int8 graph, and this bundle has none for it; 10.3 takes it."""
    bundle = REPOSITORY / "bundles" / "bsd-pitting"
    old, new = (admit(bundle, unpack(board, tmp_path / board)) for board in ("orin-nx", "orin-nano"))
    assert (old.kind, old.precision) == ("tensorrt", "fp16")
    assert (new.kind, new.precision) == ("tensorrt", "int8")
    assert engine_checks.check_graph(new).reason == "TensorRT 10.3.0.30 (JetPack 6.2) takes the int8 graph"
    refused = dict(examine([Check("graph", lambda: engine_checks.check_graph(replace(old, precision="int8")))]))[
        "graph"
    ]
    assert (refused.verdict, "int8-trt8" in refused.reason) == ("fail", True)


def inside(patient: Patient, environment: str, *, shared: bool) -> Finding:
    python = Python("3.11.7", "/opt/python", environment, shared)
    software = replace(patient.info.software, python=python)
    return engine_checks.check_tensorrt(replace(patient, info=replace(patient.info, software=software)))


def test_tensorrt_that_this_python_does_not_see_names_the_environment_to_make(tmp_path: Path) -> None:
    patient = admit(None, unpack("orin-nano", tmp_path))
    closed = inside(patient, "/home/a/jetspect", shared=False)
    assert closed.fix == "/usr/bin/python3 -m venv --system-site-packages /home/a/jetspect"
    other = inside(patient, "", shared=True)
    assert "/opt/python" in other.reason
    (tmp_path / "var/lib/dpkg/status").unlink()
    without = inside(admit(None, tmp_path), "", shared=True)
    assert without.fix == "sudo apt-get install python3-libnvinfer"


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setattr("os.geteuid", lambda: 0)
    missing, there = tmp_path / "a" / "my b", tmp_path / "there"
    there.mkdir()
    found = [station_checks.check_folder(path, 1) for path in (missing, there)]
    assert [(f.verdict, f.fix) for f in found] == [
        ("fail", f"sudo install -d -o root -m 750 '{missing}'"),
        ("fail", f"sudo chown root {there}"),
    ]


def test_nobody_is_told_to_take_a_folder_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    told = station_checks.check_folder(Path("/var/lib"), 1)
    assert told.verdict == "fail"
    assert "a folder of its own" in told.reason
    assert re.fullmatch(r"sudo install -d -o \S+ -m 750 /var/lib/jetspect", told.fix)


def test_a_station_whose_slots_are_empty_would_not_run(tmp_path: Path, station: Station) -> None:
    file = station()
    file.write_text(file.read_text().replace("path = ", "slots = "))
    for slots in ("nowhere", tmp_path):
        file.write_text(re.sub("slots = .*", f'slots = "{slots}"', file.read_text()))
        told = answers(file)
        assert (told["bundle"].verdict, told["bundle"].fix) == ("fail", "jetspect device deploy BUNDLE")
        assert "nothing is deployed in" in told["bundle"].reason
        assert (told["graph"].verdict, told["golden tiles"].verdict) == ("skipped", "skipped")
