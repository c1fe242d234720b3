"""What is given up when space runs out, and in which order; unsent results never are."""

from __future__ import annotations

import logging

from jetspect.errors import PublishError
from jetspect.runtime.publishing.evidence import EvidenceStore
from jetspect.runtime.publishing.outbox import Outbox

log = logging.getLogger(__name__)
_MB = 1024 * 1024
_RELIEF_BYTES = 16 * _MB  # freed in one go on a full disk: twice what the outbox keeps in reserve


class Keeper:
    """Holds outbox and evidence within their caps.

    An outbox above its cap takes the room from the pictures first; when those are gone the oldest acknowledged results go.
    Results that no broker has acknowledged stay whatever it costs, and raise an alarm once they alone exceed the cap.
    """

    def __init__(self, outbox: Outbox, evidence: EvidenceStore | None, *, keep_hours: float, max_mb: float) -> None:
        self._outbox, self._evidence = outbox, evidence
        self._keep_hours, self._cap = keep_hours, max_mb * _MB
        self._over = 0.0
        self._squeezed = False

    def tidy(self) -> None:
        """Forget what is old, and what exceeds the caps. Raises PublishError where the outbox cannot be used."""
        self._outbox.forget(self._keep_hours)
        excess = max(0.0, self._outbox.used_bytes() - self._cap)
        rest = excess - (self._evidence.give_up(excess) if self._evidence is not None else 0)
        if rest > 0:
            rest -= self._outbox.drop_acknowledged(rest)
        if excess and not self._squeezed:
            log.warning(
                "the outbox is %.1f MB above outbox.max_mb; pictures go first, then delivered results", excess / _MB
            )
        if rest > 0 and not self._over:
            log.error("%s", _over_cap(rest))
        self._squeezed, self._over = excess > 0, max(0.0, rest)

    def relieve(self) -> None:
        """Where the disk is full, make room: pictures first, then results that were delivered."""
        if not self._outbox.tight:
            return
        try:
            freed = self._evidence.free(_RELIEF_BYTES) if self._evidence is not None else 0
            if freed < _RELIEF_BYTES:
                self._outbox.drop_acknowledged(_RELIEF_BYTES - freed)
        except PublishError as error:
            log.error("no room could be made: %s", error)

    def alarms(self) -> tuple[str, ...]:
        """What needs a person."""
        found = [_over_cap(self._over)] if self._over else []
        if self._outbox.tight:
            found.append("disk_full: the outbox's disk is full and the line waits; free space on it")
        found += [
            f"outbox_damaged: {path.name} was moved aside and replaced; look into it, then remove it"
            for path in self._outbox.damaged
        ]
        return tuple(found)


def _over_cap(excess: float) -> str:
    return (
        f"outbox_over_cap: results that no broker has acknowledged exceed outbox.max_mb by {excess / _MB:.1f} MB; "
        "nothing is deleted: bring the broker back or raise the cap"
    )
