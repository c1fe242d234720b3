"""``jetspect run``: what it says on stderr, and that it opens the metrics endpoint."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY, jetspect


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command takes over signals; the test's process wants them back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def station(tmp_path: Path) -> Callable[[str], Path]:
    def write(more: str = "") -> Path:
        file = tmp_path / "station.toml"
        file.write_text(
            f"""
            [station]
            site = "s"
            area = "a"
            line = "l"
            unit = "island-3"
            [bundle]
            path = "{REPOSITORY}/bundles/metal-demo"
            [source]
            kind = "synthetic"
            size_wh = [320, 240]
            frames = 2
            [outbox]
            path = "{tmp_path}/outbox.sqlite"
            {more}
            """
        )
        return file

    return write


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_logs_json_on_stderr_and_results_on_stdout(station: Callable[[str], Path]) -> None:
    done = jetspect("run", station('[metrics]\nport = 0\n[log]\nformat = "json"\nlevel = "info"'), "--json")
    assert done.returncode == 0
    assert [result["seq"] for result in lines(done.stdout)] == [1, 2]
    (line,) = [line for line in lines(done.stderr) if "healthz" in line["message"]]
    assert (line["unit"], line["level"], line["logger"]) == (
        "island-3",
        "info",
        "jetspect.runtime.telemetry.endpoint",
    )


def test_the_option_wins_over_the_file_and_verbose_lowers_the_level(station: Callable[[str], Path]) -> None:
    file = station('[metrics]\nport = 0\n[log]\nformat = "text"')
    quiet = jetspect("run", file, "--check", "--log-format", "json")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    loud = jetspect("-v", "run", file, "--check", "--log-format", "json")
    assert "metrics at http://127.0.0.1:" in lines(loud.stderr)[0]["message"]


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_a_log_line_too_and_the_exit_code_stays(tmp_path: Path, as_json: bool) -> None:
    done = jetspect("run", tmp_path / "none.toml", "--log-format", "json", *["--json"] * as_json)
    assert done.returncode == 2
    (line,) = lines(done.stderr)
    assert (line["level"], line["error"]) == ("critical", "ConfigError")
    assert "cannot be read" in line["message"]
    assert done.stdout == "" if not as_json else json.loads(done.stdout)["error"]["type"] == "ConfigError"


def test_a_fault_of_ours_is_a_line_with_its_traceback_and_no_answer(
    station: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetspect.cli.run.build_station", lambda *_, **__: 1 / 0)
    done = jetspect("run", station(""), "--log-format", "json")
    (line,) = lines(done.stderr)
    assert done.returncode == 2
    assert "ZeroDivisionError" in line["message"]
    assert "Traceback" in line["exception"]


def test_a_frame_that_fails_is_named_in_fields(station: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetspect.runtime.inspector.check_frame", lambda *_: 1 / 0)
    done = jetspect("run", station(""), "--log-format", "json", "--json")
    assert [(line["frame_id"], line["part_id"]) for line in lines(done.stderr)] == [
        ("synthetic-0-000001", "P000001"),
        ("synthetic-0-000002", "P000002"),
    ]
    results = lines(done.stdout)
    assert {result["lost_cause"] for result in results} == {"inspection_failed"}
    assert lines(done.stderr)[0]["exception"].endswith("ZeroDivisionError: division by zero")


def test_a_name_of_a_file_draws_nothing_on_the_terminal(station: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[2Jb.png").write_bytes(b"no picture")
    file = station("")
    synthetic = 'kind = "synthetic"\n            size_wh = [320, 240]\n            frames = 2'
    assert synthetic in file.read_text()
    file.write_text(file.read_text().replace(synthetic, f'kind = "folder"\npath = "{tmp_path}/in"'))
    done = jetspect("run", file)
    assert "a?[2Jb" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_judged_frame_names_no_cause(station: Callable[[str], Path]) -> None:
    done = jetspect("run", station(""), "--json")
    assert all("lost_cause" not in result for result in lines(done.stdout))
    assert done.stderr == ""


def test_results_that_wait_for_the_broker_are_a_warning_in_the_log(
    station: Callable[[str], Path], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = station(f"[broker]\nhost = '127.0.0.1'\nport = {port}")
    text = file.read_text().replace("[station]", "drain_s = 0\n[station]", 1)
    file.write_text(text)
    done = jetspect("run", file, "--log-format", "json")
    last = lines(done.stderr)[-1]
    assert (last["level"], last["waiting"]) == ("warning", 2)


def test_check_says_that_the_port_of_the_metrics_is_taken(station: Callable[[str], Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = jetspect("run", station(f"[metrics]\nport = {port}"), "--check")
        assert done.returncode == 2
        assert f"port {port} cannot be used: Address already in use" in done.stderr
    assert jetspect("run", station("[metrics]\nport = 0"), "--check").returncode == 0  # nothing stayed locked


def test_without_the_package_the_station_names_the_extra(
    station: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    done = jetspect("run", station("[metrics]"), "--check")
    assert done.returncode == 2
    assert "pip install 'jetspect[metrics]'" in done.stderr
    assert jetspect("run", station(""), "--check").returncode == 0
