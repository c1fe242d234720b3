"""Log lines for machines: one JSON object per line on stderr, in ASCII, whatever is logged.

``ts`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, ``unit``, ``thread``, then what the code gave as ``extra``, then
``exception``. What an extra holds that JSON does not know is written as text.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from numbers import Integral, Real
from typing import Any

from jetspect.runtime.telemetry.settings import LogFormat, LogSettings

_LONGEST = 16_000  # characters of one text: collectors cut or drop longer lines
_DEEPEST, _MOST_ITEMS = 4, 100
_LARGEST = 2**63
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = ("ts", "level", "logger", "message", "unit", "thread", "exception", "stack")


class JsonFormatter(logging.Formatter):
    """Never raises: a log line that cannot be written as it was meant still says where it comes from."""

    def __init__(self, unit: str = "") -> None:
        super().__init__()
        self._unit = unit

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": _time(record.created),
            "level": _text(record.levelname).lower(),
            "logger": _text(record.name),
            "message": _message(record),
            "unit": _text(self._unit),
            "thread": _text(record.threadName),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                key = _text(name)
                line[f"extra_{key}" if key in _OWN else key] = _plain(value, _DEEPEST)
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            line["exception"] = self._exception(record.exc_info)
        if record.stack_info:
            line["stack"] = _text(record.stack_info)
        return json.dumps(line, allow_nan=False)

    def _exception(self, raised: Any) -> str:
        try:
            return _text(self.formatException(raised))
        except Exception as error:  # one that cannot be shown
            return f"{_text(raised[0])} (its traceback cannot be shown: {type(error).__name__})"


@contextmanager
def logging_as(settings: LogSettings, unit: str = "") -> Iterator[None]:
    """Log to stderr as the settings say; afterwards all is as it was. Handlers of other kinds are left alone.

    As JSON, warnings and what ends a thread or the process are log lines too.
    """
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.setLevel(settings.level.upper())
    if settings.format is LogFormat.TEXT:
        try:
            yield
        finally:
            root.setLevel(level)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(unit))
    root.handlers = [h for h in before if type(h) is not logging.StreamHandler] + [handler]
    hooks = sys.excepthook, threading.excepthook
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread
    shown = warnings.showwarning
    logging.captureWarnings(True)
    captured_here = warnings.showwarning is not shown
    try:
        yield
    finally:
        if captured_here:
            logging.captureWarnings(False)
        sys.excepthook, threading.excepthook = hooks
        root.handlers = before
        root.setLevel(level)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    logging.getLogger("jetspect").critical("uncaught %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _time(seconds: float) -> str:
    try:
        at = datetime.fromtimestamp(seconds, timezone.utc)
    except (ValueError, OverflowError, OSError, TypeError):  # a machine whose clock was never set may say anything
        at = datetime.fromtimestamp(0, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return _text(record.getMessage())
    except Exception as error:  # wrong placeholders, or an argument that cannot be printed
        return f"{_text(record.msg)} (its arguments cannot be shown: {type(error).__name__})"


def _text(value: object) -> str:
    """Return any object as text of limited length that UTF-8 can hold."""
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text) - _LONGEST} characters more)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: object, depth: int) -> Any:
    """Return what JSON knows; everything else as text."""
    try:
        if value is None or isinstance(value, (bool, str)):
            return _text(value) if isinstance(value, str) else value
        if isinstance(value, Integral):
            number = int(value)
            return number if abs(number) < _LARGEST else _text(value)
        if isinstance(value, Real):
            real = float(value)
            return real if math.isfinite(real) else _text(real)
        if depth and isinstance(value, dict):
            return {_text(k): _plain(v, depth - 1) for k, v in list(value.items())[:_MOST_ITEMS]}
        if depth and isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(v, depth - 1) for v in list(value)[:_MOST_ITEMS]]
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return _text(value)
