"""Tell stations up to where everything is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from pydantic import ValidationError

from jetspect.errors import InputError
from jetspect.runtime.consuming.ledger import StationLedger
from jetspect.runtime.consuming.reader import sibling
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.requests import ReceiptMessage

EVERY_S = 1.0


class Sends(Protocol):
    """Publishes a message; False while that is not possible."""

    def publish(self, topic: str, payload: bytes) -> bool: ...


class Receipts:
    """Sends the receipts of one consumer, at most one a second for each station.

    Raises
    ------
    InputError
        The name is none that a station takes.
    """

    def __init__(self, consumer: str, post: Sends, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            ReceiptMessage(consumer=consumer, up_to_seq=0)
        except ValidationError as error:
            raise InputError(
                f"{consumer!r} is no name of a consumer: 1 to 64 letters, digits and the signs '_.:-'"
            ) from error
        self._consumer, self._post, self._clock = consumer, post, clock
        self._sent: dict[str, tuple[int, float]] = {}  # topic -> (up to, when)

    def send(self, stations: dict[str, StationLedger], *, leaving: bool = False) -> None:
        """Send what is due; when ``leaving``, whatever was not sent yet."""
        now = self._clock()
        for topic, ledger in stations.items():
            up_to, at = self._sent.get(topic, (0, -EVERY_S))
            due = leaving or now - at >= EVERY_S
            if ledger.up_to == up_to or ledger.up_to < 1 or not due:
                continue
            receipt = ReceiptMessage(consumer=self._consumer, up_to_seq=ledger.up_to, at=utc_now())
            where = sibling(topic, "receipt")
            if where and self._post.publish(where, receipt.payload()):
                self._sent[topic] = ledger.up_to, now
