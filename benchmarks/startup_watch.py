"""Adds up the time of calls by phase, until there is a verdict. Imports nothing heavy: importing is one of the phases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

PHASES = ("python", "imports", "bundle", "engine", "golden", "image", "frame", "rest")


class Watch:
    """Adds up the time of calls by phase; a phase inside another one does not count as part of it."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.verdict_ns = 0
        self._inside = threading.local()

    def over(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed until there is a verdict."""

        def timed(*arguments: Any, **options: Any) -> Any:
            around: list[str] = getattr(self._inside, "phases", [])
            self._inside.phases = [*around, phase]
            began = time.monotonic_ns()
            try:
                return call(*arguments, **options)
            finally:
                self._inside.phases = around
                spent = (time.monotonic_ns() - began) / 1e6
                if not self.verdict_ns:
                    self.ms[phase] += spent
                    for outer in around[-1:]:
                        self.ms[outer] -= spent

        return timed

    def verdict(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what tells a verdict; its first end is what startup leads to."""

        def told(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            finally:
                self.verdict_ns = self.verdict_ns or time.monotonic_ns()

        return told
