"""Messages stay with a real mosquitto until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from consumers import ANY, broker_at, send, subscribed
from delivery import wait_for

from jetspect.errors import InputError, PublishError
from jetspect.runtime.consuming.inbox import Inbox, Letter


def take(inbox: Inbox, count: int) -> list[Letter]:
    letters: list[Letter] = []
    wait_for(lambda: len(letters) == count or bool(letters.extend(next(inbox.batches(lambda: count - len(letters))))))
    return letters


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_what_was_not_acknowledged_comes_again_and_only_that(mosquitto: Callable[..., Any], protocol: str) -> None:
    broker = mosquitto()
    settings = broker_at(broker.port, protocol=protocol)
    with Inbox(settings, [ANY], client_id="mes"):
        pass
    send(broker.port, (b"%d" % n for n in range(60)))
    with Inbox(settings, [ANY], client_id="mes") as inbox:
        first = take(inbox, 20)
        inbox.acknowledge(first)
    with Inbox(settings, [ANY], client_id="mes") as inbox:
        again = take(inbox, 20)  # as many as the broker sends without an acknowledgement
        inbox.acknowledge(again)
        again += take(inbox, 20)
    assert [int(letter.payload) for letter in first + again] == list(range(60))


def test_an_acknowledgement_of_an_older_connection_confirms_nothing(mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    subscribed(broker.port, "mes")
    send(broker.port, [b"one"])
    with Inbox(broker_at(broker.port), [ANY], client_id="mes") as inbox:
        before = take(inbox, 1)
        broker.kill()
        broker.start()
        wait_for(lambda: inbox.connections == 2)
        inbox.acknowledge(before)
        assert [letter.payload for letter in take(inbox, 1)] == [b"one"]
    with Inbox(broker_at(broker.port), [ANY], client_id="mes") as inbox:
        assert [letter.payload for letter in take(inbox, 1)] == [b"one"]


def test_a_broker_that_is_not_there_is_told_or_waited_for(mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    broker.kill()
    with (
        pytest.raises(PublishError, match=r"^broker 127.*nothing listens there"),
        Inbox(broker_at(broker.port), [ANY]),
    ):
        pass
    patient = Inbox(broker_at(broker.port), [ANY], patient=True)
    patient.stopping.set()  # a signal that comes while it waits
    with patient:
        assert list(patient.batches(lambda: 1)) == []


def test_a_refused_login_is_told_even_to_the_patient(mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto("allow_anonymous false")
    with pytest.raises(PublishError, match="refuses the login"), Inbox(broker_at(broker.port), [ANY], patient=True):
        pass


def test_a_wrong_filter_is_refused() -> None:
    with pytest.raises(InputError, match="is no topic filter"):
        Inbox(broker_at(1), ["a/#/b"])
