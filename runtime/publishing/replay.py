"""Ask a station for results again, as a consumer that saw a gap."""

from __future__ import annotations

import time
import uuid

from pydantic import ValidationError

from jetspect.errors import PublishError
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.requests import ReplayCommand, ReplayReply
from jetspect.runtime.publishing.subscriber import MqttSubscriber
from jetspect.runtime.publishing.topics import Topics

_AGAIN_S = 2.0


def request_replay(
    settings: BrokerSettings, topics: Topics, from_seq: int, to_seq: int | None = None, *, timeout_s: float = 10.0
) -> ReplayReply:
    """Ask one station for a range and return its answer; the results come on its ``result`` topic.

    The request goes out again every two seconds until there is an answer: a station that is just coming back has not heard
    the first one, and results that come twice carry the same ``event_id``.

    Raises
    ------
    PublishError
        The broker cannot be reached, or the station does not answer in time.
    """
    command = ReplayCommand(request_id=uuid.uuid4().hex, from_seq=from_seq, to_seq=to_seq)
    deadline = time.monotonic() + timeout_s
    with MqttSubscriber(settings, topics.replay_reply, timeout_s=timeout_s) as subscriber:
        while (left := deadline - time.monotonic()) > 0:
            subscriber.publish(topics.replay, command.payload())
            for _, payload in subscriber.messages(quiet_s=min(_AGAIN_S, left)):
                try:
                    reply = ReplayReply.model_validate_json(payload)
                except ValidationError:
                    continue
                if reply.request_id == command.request_id:
                    return reply
    raise PublishError(
        f"no station answers on {topics.replay} within {timeout_s:.0f} s; "
        "check that it is online and that its station file says commands.replay = true"
    )
