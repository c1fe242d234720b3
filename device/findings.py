"""What a check says of a machine: a verdict, the reason, and the command that puts it right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes
    ----------
    verdict
        ``fail``: a station would not run. ``warn``: it would, but not well or not for long. ``skipped``: there is nothing to
        check, as the reason says.
    fix
        What to type; empty where the reason says what to do.
    """

    verdict: Verdict
    reason: str
    fix: str = ""


def ok(reason: str) -> Finding:
    return Finding("ok", reason)


def warn(reason: str, fix: str = "") -> Finding:
    return Finding("warn", reason, fix)


def fail(reason: str, fix: str = "") -> Finding:
    return Finding("fail", reason, fix)


def skipped(because: str) -> Finding:
    return Finding("skipped", because)
