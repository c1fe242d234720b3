"""Ask stations for what is missing, until it came or they say that it is gone."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from jetspect.runtime.consuming.ledger import Span, StationLedger, spell
from jetspect.runtime.consuming.reader import plain, sibling
from jetspect.runtime.consuming.receipts import Sends
from jetspect.runtime.publishing.requests import ReplayCommand, ReplayReply

log = logging.getLogger(__name__)

GRACE_S = 3.0
AGAIN_S = 10.0
_AT_ONCE = 1000  # results that one request asks for
_LONGEST_WAIT_S = 300.0
_TELL_AFTER = 3  # requests without an answer


@dataclass
class _Asked:
    """What is going on with one station."""

    request: str = ""
    topic: str = ""
    span: Span = (0, 0)
    not_before: float = 0.0
    tries: int = 0
    """Requests since something came of one."""
    left: int = 0
    """What was missing when we last looked."""
    refused: str = ""


@dataclass(frozen=True)
class Lost:
    """Results that a station says it no longer has, or never gave."""

    topic: str
    spans: tuple[Span, ...]


class Recovery:
    """Closes gaps with ``cmd/replay``: one request at a time for each station, 1,000 results at most.

    A gap gets ``GRACE_S`` to close by itself. A station that does not answer, or refuses, is asked again after ``AGAIN_S``,
    then after twice as long, up to five minutes.
    """

    def __init__(self, post: Sends, clock: Callable[[], float] = time.monotonic) -> None:
        self._post, self._clock = post, clock
        self._asked: dict[str, _Asked] = {}

    def ask(self, stations: dict[str, StationLedger], *, newest: bool = False) -> None:
        """Send the requests that are due. ``newest``: ask every station whether it is ahead of what came.

        That is for the moment after a connection: a broker that forgot our session has kept nothing for us.
        """
        now = self._clock()
        for topic, ledger in stations.items():
            if newest:
                self._asked.pop(topic, None)
                self._send(topic, (ledger.last + 1, ledger.last + 1), now)
            elif ledger.holes:
                state = self._asked.setdefault(topic, _Asked(not_before=now + GRACE_S))
                if now >= state.not_before and ledger.missing < state.left:  # the answer is still coming in
                    state.left, state.not_before = ledger.missing, now + GRACE_S
                elif now >= state.not_before:
                    first, last = ledger.holes[0]
                    self._send(topic, (first, min(last, first + _AT_ONCE - 1)), now)
            elif topic in self._asked and not self._asked[topic].request:
                del self._asked[topic]

    def answered(self, topic: str, payload: bytes, stations: dict[str, StationLedger]) -> Lost | None:
        """Take a message of a reply topic; return what will never come."""
        try:
            reply = ReplayReply.model_validate_json(payload)
        except ValidationError:
            return None
        found = next((t for t, s in self._asked.items() if s.request and s.request == reply.request_id), None)
        if found is None or topic != sibling(found, "cmd/replay/reply"):
            return None  # an answer to somebody else
        state, ledger = self._asked[found], stations[found]
        state.request = ""
        if not reply.accepted:
            if reply.reason != state.refused:
                log.warning("%s refuses a replay: %s", plain(found), plain(reply.reason))
            state.refused = reply.reason
            return None
        if reply.newest_seq is not None:
            ledger.expect(reply.newest_seq, told=False)
        spans = _gone(reply, state.span, ledger)
        moved = bool(spans or reply.queued)
        state.left = ledger.missing
        # What is queued comes now. What of it does not come is asked for once more, and then it is either sent or gone.
        state.not_before = self._clock() + (GRACE_S if moved or state.tries == 1 else AGAIN_S)
        state.tries = 0 if moved else state.tries
        return Lost(found, spans) if spans else None

    def _send(self, topic: str, span: Span, now: float) -> None:
        where = sibling(topic, "cmd/replay")
        if not where or span[1] > 2**63 - 1:
            return
        request = ReplayCommand(request_id=uuid.uuid4().hex, from_seq=span[0], to_seq=span[1])
        if not self._post.publish(where, request.payload()):
            return
        state = self._asked.setdefault(topic, _Asked())
        state.request, state.span = request.request_id, span
        state.tries, state.left = state.tries + 1, 0
        if state.tries == _TELL_AFTER:
            log.warning(
                "no station answers on %s, asked for %s; check that it is online and says commands.replay = true",
                plain(where),
                spell([span]),
            )
        state.not_before = now + min(AGAIN_S * 2 ** min(state.tries - 1, 10), _LONGEST_WAIT_S)


def _gone(reply: ReplayReply, asked: Span, ledger: StationLedger) -> tuple[Span, ...]:
    spans: tuple[Span, ...] = ()
    if reply.oldest_seq is not None:
        spans += ledger.give_up(1, reply.oldest_seq - 1)
    if reply.newest_seq is not None:
        # It has answered after it sent what we have: a number above its newest was never given by it.
        spans += ledger.give_up(reply.newest_seq + 1, ledger.last)
    if not reply.queued and reply.to_seq is not None:
        spans += ledger.give_up(asked[0], min(asked[1], reply.to_seq))
    return spans
