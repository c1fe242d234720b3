"""What consumers may ask of a station over MQTT. All of it is off unless the station file allows it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field, ValidationError

from jetspect.errors import InputError
from jetspect.runtime.frames import Shot
from jetspect.runtime.publishing.messages import Message
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.requests import (
    ReceiptMessage,
    ReplayCommand,
    ReplayReply,
    TriggerCommand,
    TriggerReply,
)
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.settings import Settings

log = logging.getLogger(__name__)
Trigger = Callable[[str | None], Shot]
"""Starts a picture of a part; raises InputError where that cannot be now."""

_REMEMBERED = 1000  # requests for a trigger


class CommandSettings(Settings):
    """``[commands]``: what consumers may ask for. Who may send it, the broker's access list decides."""

    receipts: bool = Field(False, description="Take receipts and show them in the health message")
    replay: bool = Field(False, description="Send a range of results again on request")
    replay_max: int = Field(10_000, ge=1, le=1_000_000, description="Results that one request may ask for")


@dataclass(frozen=True)
class Answer:
    """What is said to whoever asked, and where. ``replays``: results of before go out again."""

    topic: str
    message: Message
    replays: bool = False


class Commands:
    """Carries out requests: on the outbox, and on what takes triggers, where something does."""

    def __init__(
        self, settings: CommandSettings, outbox: Outbox, topics: Topics, trigger: Trigger | None = None
    ) -> None:
        self._settings, self._outbox, self._topics = settings, outbox, topics
        self._trigger = trigger
        self._triggered: OrderedDict[str, tuple[TriggerCommand, TriggerReply]] = OrderedDict()

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""
        wanted = (
            (self._settings.receipts, self._topics.receipt),
            (self._settings.replay, self._topics.replay),
            (self._trigger is not None, self._topics.trigger),
        )
        return tuple(topic for allowed, topic in wanted if allowed)

    def handle(self, topic: str, payload: bytes) -> Answer | None:
        """Do what a message asks for; return the answer where there is one.

        Raises
        ------
        PublishError
            The outbox cannot be used.
        """
        if topic == self._topics.receipt:
            self._take_receipt(payload)
            return None
        if topic == self._topics.trigger:
            return Answer(self._topics.trigger_reply, self._start(payload))
        return Answer(self._topics.replay_reply, self._replay(payload), replays=True)

    def _start(self, payload: bytes) -> TriggerReply:
        try:
            asked = TriggerCommand.model_validate_json(payload)
        except ValidationError as error:
            return TriggerReply(request_id="", accepted=False, reason=_first_fault(error))
        # A message at QoS 1 may come twice; a part is pictured once.
        known = self._triggered.get(asked.request_id)
        if known is not None:
            return known[1] if known[0] == asked else _used_before(asked, known[0])
        reply = self._fire(asked)
        if reply.accepted:
            self._triggered[asked.request_id] = asked, reply
            if len(self._triggered) > _REMEMBERED:
                self._triggered.popitem(last=False)
        return reply

    def _fire(self, asked: TriggerCommand) -> TriggerReply:
        if self._trigger is None:
            return TriggerReply(request_id=asked.request_id, accepted=False, reason="this station takes no triggers")
        try:
            shot = self._trigger(asked.part_id)
        except InputError as error:
            return TriggerReply(request_id=asked.request_id, accepted=False, reason=str(error))
        return TriggerReply(
            request_id=asked.request_id,
            accepted=True,
            part_id=shot.part_id,
            shot=shot.number,
            triggered_at=shot.triggered_at,
        )

    def _take_receipt(self, payload: bytes) -> None:
        try:
            receipt = ReceiptMessage.model_validate_json(payload)
        except ValidationError as error:
            log.warning("a receipt was ignored: %s", _first_fault(error))
            return
        span = self._outbox.span()
        if receipt.up_to_seq > (span[1] if span else 0):
            log.warning(
                "a receipt of %s was ignored: up_to_seq %d was never given", receipt.consumer, receipt.up_to_seq
            )
            return
        self._outbox.note_receipt(receipt.consumer, receipt.up_to_seq)

    def _replay(self, payload: bytes) -> ReplayReply:
        try:
            asked = ReplayCommand.model_validate_json(payload)
        except ValidationError as error:
            return ReplayReply(request_id="", accepted=False, reason=_first_fault(error))
        oldest, newest = self._outbox.span() or (0, 0)
        known = {"oldest_seq": oldest or None, "newest_seq": newest or None}
        first, last = asked.from_seq, min(asked.to_seq or newest, newest)
        count = max(0, last - first + 1)
        if count > self._settings.replay_max:
            reason = f"{count} results asked for, commands.replay_max allows {self._settings.replay_max}; ask in parts"
            return ReplayReply(request_id=asked.request_id, accepted=False, reason=reason, **known)
        queued = self._outbox.reopen_range(first, last, self._topics.result) if count else 0
        log.info("replay %s: %d results of %d to %d go out again", asked.request_id, queued, first, last)
        return ReplayReply(
            request_id=asked.request_id,
            accepted=True,
            from_seq=first,
            to_seq=last if count else None,
            queued=queued,
            gone=count - queued,
            **known,
        )


def _used_before(asked: TriggerCommand, before: TriggerCommand) -> TriggerReply:
    """Refuse what cannot be the same message again: its sender must not believe that this part is pictured."""
    reason = f"request_id {asked.request_id} was part_id {before.part_id} before; give each trigger its own request_id"
    return TriggerReply(request_id=asked.request_id, accepted=False, reason=reason)


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "payload"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"[:300]
