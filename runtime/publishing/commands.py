"""What consumers may ask of a station over MQTT. All of it is off unless the station file allows it."""

from __future__ import annotations

import logging

from pydantic import Field, ValidationError

from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.requests import ReceiptMessage, ReplayCommand, ReplayReply
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.settings import Settings

log = logging.getLogger(__name__)


class CommandSettings(Settings):
    """``[commands]``: what consumers may ask for. Who may send it, the broker's access list decides."""

    receipts: bool = Field(False, description="Take receipts and show them in the health message")
    replay: bool = Field(False, description="Send a range of results again on request")
    replay_max: int = Field(10_000, ge=1, le=1_000_000, description="Results that one request may ask for")


class Commands:
    """Carries out requests on an outbox."""

    def __init__(self, settings: CommandSettings, outbox: Outbox, topics: Topics) -> None:
        self._settings, self._outbox, self._topics = settings, outbox, topics

    @property
    def topics(self) -> tuple[str, ...]:
        """What to subscribe to."""
        wanted = ((self._settings.receipts, self._topics.receipt), (self._settings.replay, self._topics.replay))
        return tuple(topic for allowed, topic in wanted if allowed)

    def handle(self, topic: str, payload: bytes) -> ReplayReply | None:
        """Do what a message asks for; return the answer where there is one.

        Raises
        ------
        PublishError
            The outbox cannot be used.
        """
        if topic == self._topics.receipt:
            self._take_receipt(payload)
            return None
        return self._replay(payload)

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


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "payload"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"[:300]
