"""What consumers may ask of a station over MQTT. All of it is off unless the station file allows it."""

from __future__ import annotations

import logging

from pydantic import Field, ValidationError

from jetspect.runtime.publishing.intake import Asked, Seldom
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.requests import ReceiptMessage, ReplayCommand, ReplayReply, first_fault, readable_id
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.settings import Settings

log = logging.getLogger(__name__)
_CONSUMERS = 100  # whose receipts are kept


class CommandSettings(Settings):
    """``[commands]``: what consumers may ask for. Who may send it, the broker's access list decides."""

    receipts: bool = Field(False, description="Take receipts and show them in the health message")
    replay: bool = Field(False, description="Send a range of results again on request")
    replay_max: int = Field(10_000, ge=1, le=1_000_000, description="Results that one request may ask for")
    max_bytes: int = Field(
        65536, ge=256, le=16 * 1024 * 1024, description="Payload of a request; a longer one is refused unread"
    )
    per_s: float = Field(20.0, gt=0, le=1000, description="Requests carried out each second; of more, 64 wait")


class Commands:
    """Carries out requests on an outbox."""

    def __init__(self, settings: CommandSettings, outbox: Outbox, topics: Topics) -> None:
        self._settings, self._outbox, self._topics = settings, outbox, topics
        self._complain = Seldom()
        self.refused = 0
        """Requests that were not carried out: malformed, too large, or more than allowed."""

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""
        wanted = ((self._settings.receipts, self._topics.receipt), (self._settings.replay, self._topics.replay))
        return tuple(topic for allowed, topic in wanted if allowed)

    def handle(self, asked: Asked) -> ReplayReply | None:
        """Do what a message asks for; return the answer where there is one.

        Raises
        ------
        PublishError
            The outbox cannot be used.
        """
        limit = self._settings.max_bytes
        too_large = f"payload: {asked.size} bytes, commands.max_bytes allows {limit}" if asked.size > limit else ""
        if asked.topic == self._topics.receipt:
            fault, reply = too_large or self._take_receipt(asked.payload), None
        else:
            reply = self._refusal(asked.payload, too_large) if too_large else self._replay(asked.payload)
            fault = "" if reply.accepted else reply.reason
        if fault:
            self.refused += 1
            self._complain(f"a request on {asked.topic} was ignored: {fault}")
        return reply

    def _take_receipt(self, payload: bytes) -> str:
        """Keep a receipt; return why not, or an empty text."""
        try:
            receipt = ReceiptMessage.model_validate_json(payload)
        except ValidationError as error:
            return first_fault(error)
        span = self._outbox.span()
        if receipt.up_to_seq > (span[1] if span else 0):
            return f"up_to_seq {receipt.up_to_seq} of {receipt.consumer} was never given"
        known = self._outbox.receipts()
        if receipt.consumer not in known and len(known) >= _CONSUMERS:
            return f"receipts of {_CONSUMERS} consumers are kept, {receipt.consumer} is one more"
        self._outbox.note_receipt(receipt.consumer, receipt.up_to_seq)
        return ""

    def _refusal(self, payload: bytes, reason: str) -> ReplayReply:
        return ReplayReply(request_id=readable_id(payload), accepted=False, reason=reason)

    def _replay(self, payload: bytes) -> ReplayReply:
        try:
            asked = ReplayCommand.model_validate_json(payload)
        except ValidationError as error:
            return self._refusal(payload, first_fault(error))
        oldest, newest = self._outbox.span() or (0, 0)
        known = {"oldest_seq": oldest or None, "newest_seq": newest or None}
        first, last = asked.from_seq, min(asked.to_seq or newest, newest)
        count = max(0, last - first + 1)
        if count > self._settings.replay_max:
            reason = f"{count} results asked for, commands.replay_max allows {self._settings.replay_max}; ask in parts"
            return ReplayReply(request_id=asked.request_id, accepted=False, reason=reason, **known)
        waiting = self._outbox.depth()
        if count and waiting > self._settings.replay_max:
            reason = f"{waiting} results still wait to go out; ask again when they are through"
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
