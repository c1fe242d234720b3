"""Run checks one after the other: one that hangs is given up, one that breaks is a failure with its reason."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace

from jetspect.device.findings import Finding, fail
from jetspect.errors import JetspectError
from jetspect.runtime.doctor.registry import Check

log = logging.getLogger(__name__)
_COMMAND = " with: "


def examine(checks: Iterable[Check]) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the answer of each check as it comes.

    Every check has a thread of its own, because nothing else can be left behind when a driver does not return. A check that
    was given up goes on in the background until the process ends.
    """
    for check in checks:
        finding = _answer(check)
        lines = (line.strip() for line in finding.reason.splitlines())
        yield check.name, replace(finding, reason="; ".join(filter(None, lines)))


def would_run(findings: Iterable[Finding]) -> bool:
    return all(finding.verdict != "fail" for finding in findings)


def _answer(check: Check) -> Finding:
    answers: queue.SimpleQueue[Finding] = queue.SimpleQueue()
    threading.Thread(
        target=lambda: answers.put(_guarded(check)), name=f"jetspect-doctor-{check.name}", daemon=True
    ).start()
    try:
        return answers.get(timeout=check.limit_s)
    except queue.Empty:
        return fail(
            f"gave no answer within {check.limit_s:g} s; what it asks hangs, so the station would hang there too"
        )


def _guarded(check: Check) -> Finding:
    try:
        return check.run()
    except JetspectError as error:
        text = str(error)
        reason, _, command = text.rpartition(_COMMAND)
        return fail(reason.rpartition("; ")[0] or reason, command) if reason else fail(text)
    except BaseException as error:
        log.info("check %s broke", check.name, exc_info=True)
        return fail(f"the check broke with {type(error).__name__}: {error}; report it with what jetspect -v prints")
