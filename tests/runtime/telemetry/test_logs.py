"""One JSON object per line, whatever is logged."""

from __future__ import annotations

import enum
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.runtime.telemetry.logs import JsonFormatter, logging_as
from jetspect.runtime.telemetry.settings import LogFormat, LogSettings

JSON = LogSettings(format=LogFormat.JSON, level="info")
log = logging.getLogger("jetspect.test")


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Colour(str, enum.Enum):
    RED = "red"


@contextmanager
def logged(told: LogSettings = JSON, unit: str = "") -> Iterator[io.TextIOWrapper]:
    """Log to the stderr of a machine without a locale."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", line_buffering=True)
    with redirect_stderr(stream), logging_as(told, unit):
        yield stream


def lines(stream: io.TextIOWrapper) -> list[dict[str, Any]]:
    stream.seek(0)
    return [json.loads(line) for line in stream.read().splitlines()]


def test_a_line_says_when_who_and_where_and_what_the_code_gave() -> None:
    with logged(unit="island-3") as stderr:
        log.warning("frame %s is late", "f1", extra={"frame_id": "f1", "seq": 7, "late_s": 0.5})
    (line,) = lines(stderr)
    ts = line.pop("ts")
    assert ts.endswith("Z")
    assert len(ts) == len("2026-01-31T12:00:00.123Z")
    assert line == {
        "level": "warning",
        "logger": "jetspect.test",
        "message": "frame f1 is late",
        "unit": "island-3",
        "thread": "MainThread",
        "frame_id": "f1",
        "seq": 7,
        "late_s": 0.5,
    }


def test_an_exception_is_one_field_of_one_line() -> None:
    with logged() as stderr:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("it failed", stack_info=True)
        log.error("nothing raised", exc_info=True)
    first, second = lines(stderr)
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("ValueError: two\nlines")
    assert "test_logs.py" in first["stack"]
    assert "exception" not in second


def test_what_json_does_not_know_becomes_text() -> None:
    circle: list[Any] = []
    circle.append(circle)
    extra = {
        "path": Path("a/b"), "nan": float("nan"), "np_int": np.int64(3), "np_float": np.float32(0.5), "flag": True,
        "none": None, "colour": Colour.RED, "keys": {(1, 2): {3}}, "circle": circle, "broken": Broken(),
        "huge": 10**5000, "large": 2**64, "ts": "mine", "bytes": b"\xff", "many": list(range(1000)),
    }  # fmt: skip
    with logged() as stderr:
        log.info("odd", extra=extra)
    (line,) = lines(stderr)
    assert line["path"] == "a/b"
    assert [line[n] for n in ("nan", "np_int", "np_float", "flag", "none")] == ["nan", 3, 0.5, True, None]
    assert line["keys"] == {"(1, 2)": [3]}
    assert "cannot be shown: RuntimeError" in line["broken"]
    assert "cannot be shown: ValueError" in line["huge"]
    assert line["large"] == str(2**64)
    assert line["extra_ts"] == "mine"
    assert line["ts"] != "mine"
    assert len(line["many"]) == 100


@pytest.mark.parametrize(
    ("message", "arguments"), [("%d frames", ("many",)), ("%s", (Broken(),)), ("%s %s", ("one",)), (Broken(), ())]
)
def test_a_wrong_log_call_is_still_a_line(message: Any, arguments: tuple[Any, ...]) -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, message, arguments, None)
    assert "cannot be shown" in json.loads(JsonFormatter().format(record))["message"]


@settings(max_examples=50)
@given(st.text(st.characters(), max_size=40), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3))
def test_any_text_makes_one_ascii_line_that_says_the_same(text: str, extra: dict[str, str]) -> None:
    record = logging.makeLogRecord({"msg": text, "args": (), "name": text, "levelname": "INFO"})
    vars(record).update({f"x_{name}": value for name, value in extra.items()})
    written = JsonFormatter(text).format(record)
    assert written.isascii()
    assert len(written.splitlines()) == 1
    line = json.loads(written)
    said = text.encode("utf-8", "backslashreplace").decode()
    assert line["message"] == line["logger"] == line["unit"] == said


def test_lone_surrogates_become_escapes_that_strict_readers_take() -> None:
    line = json.loads(JsonFormatter().format(logging.makeLogRecord({"msg": "b\udcff.png"})))
    assert line["message"] == "b\\udcff.png"


def test_a_message_of_many_megabytes_is_cut() -> None:
    with logged() as stderr:
        log.info("x" * 5_000_000)
    (line,) = lines(stderr)
    assert line["message"].endswith("(4984000 characters more)")


def test_a_record_made_by_hand_of_nothing_sensible_is_still_a_line() -> None:
    odd = {
        "levelname": None,
        "created": None,
        "threadName": None,
        "exc_info": True,
        "args": 3,
        "msg": "%d %d",
        7: Broken(),
    }
    line = json.loads(JsonFormatter().format(logging.makeLogRecord(odd)))
    assert line["message"].startswith("%d %d")
    assert "RuntimeError" in line["7"]
    bad = logging.makeLogRecord({"exc_info": (ValueError, ValueError("x"), "no traceback")})
    assert "cannot be shown" in json.loads(JsonFormatter().format(bad))["exception"]


def test_a_clock_that_was_never_set_stops_no_line() -> None:
    for created in (-1e300, 1e300, float("nan")):
        assert json.loads(JsonFormatter().format(logging.makeLogRecord({"created": created})))["ts"].endswith("Z")


def test_warnings_and_what_ends_a_thread_are_lines_too() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with logged() as stderr, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", stacklevel=1)
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()
    warned, ended = lines(stderr)
    assert (warned["logger"], "old call" in warned["message"]) == ("py.warnings", True)
    assert (ended["level"], ended["thread"], ended["message"]) == ("critical", "worker", "uncaught KeyError: 'gone'")
    assert "in fail" in ended["exception"]


def test_afterwards_all_is_as_it_was_and_other_handlers_went_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, sys.excepthook, threading.excepthook, warnings.showwarning)
    with pytest.raises(RuntimeError), logged():
        log.info("inside")
        raise RuntimeError
    assert (list(root.handlers), root.level, sys.excepthook, threading.excepthook, warnings.showwarning) == before
    assert "inside" in caplog.text


def test_threads_do_not_mix_their_lines() -> None:
    with logged() as stderr:
        threads = [
            threading.Thread(target=lambda: [log.info("m" * 500) for _ in range(50)], name=f"t{n}") for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(lines(stderr)) == 400


def test_below_the_level_nothing_is_written() -> None:
    with logged(LogSettings(format=LogFormat.JSON, level="error")) as stderr:
        log.warning("quiet")
    assert lines(stderr) == []
