"""Triggers over MQTT: carried out as they come, because one that waits would picture another part."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import ValidationError

from jetspect.errors import InputError
from jetspect.runtime.frames import Shot
from jetspect.runtime.publishing.intake import Asked, Seldom
from jetspect.runtime.publishing.requests import TriggerCommand, TriggerReply, first_fault, readable_id

Trigger = Callable[[str | None, float], Shot]
"""Starts a picture of a part that was there so many seconds ago; raises InputError where that cannot be now."""

PER_S = 200.0  # more than any line, and no flood
_REMEMBERED = 1000


class Triggers:
    """Answers requests for a picture. For one thread.

    Parameters
    ----------
    max_bytes
        Of a payload; a longer one is refused.
    """

    def __init__(self, trigger: Trigger, max_bytes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trigger, self._max_bytes, self._clock = trigger, max_bytes, clock
        self._done: OrderedDict[str, tuple[TriggerCommand, TriggerReply]] = OrderedDict()
        self._allowed, self._counted_at = PER_S, clock()
        self._complain = Seldom(clock=clock)
        self.refused = 0
        """Requests that started nothing."""

    def handle(self, asked: Asked, ago_s: float = 0.0) -> TriggerReply:
        """Start a picture and say so, or say why not. ``ago_s``: since it came."""
        reply = self._answer(asked, ago_s)
        if not reply.accepted:
            self.refused += 1
            self._complain(f"a trigger was not taken: {reply.reason}")
        return reply

    def _answer(self, asked: Asked, ago_s: float) -> TriggerReply:
        if asked.size > self._max_bytes:
            return _no(asked, f"payload: {asked.size} bytes, commands.max_bytes allows {self._max_bytes}")
        try:
            wanted = TriggerCommand.model_validate_json(asked.payload)
        except ValidationError as error:
            return _no(asked, first_fault(error))
        # A message at QoS 1 may come twice; a part is pictured once.
        if (known := self._done.get(wanted.request_id)) is not None:
            before, reply = known
            return reply if before == wanted else _no(asked, _used_before(wanted, before))
        if not self._in_time():
            return _no(asked, f"more than {PER_S:g} triggers a second; check what sends them")
        try:
            shot = self._trigger(wanted.part_id, ago_s)
        except InputError as error:
            return _no(asked, str(error))
        reply = TriggerReply(
            request_id=wanted.request_id,
            accepted=True,
            part_id=shot.part_id,
            shot=shot.number,
            triggered_at=shot.triggered_at,
        )
        self._done[wanted.request_id] = wanted, reply
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        return reply

    def _in_time(self) -> bool:
        now = self._clock()
        self._allowed = min(PER_S, self._allowed + (now - self._counted_at) * PER_S)
        self._counted_at = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True


def _no(asked: Asked, reason: str) -> TriggerReply:
    return TriggerReply(request_id=readable_id(asked.payload), accepted=False, reason=reason)


def _used_before(asked: TriggerCommand, before: TriggerCommand) -> str:
    """Say why this is not the same message again: its sender must not believe that this part is pictured."""
    return f"request_id {asked.request_id} was part_id {before.part_id} before; give each trigger its own request_id"
