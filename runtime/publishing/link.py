"""One connection to a broker, renewed for as long as it takes.

Every connection gets a new paho client, so that nothing of a broken one lives on: what goes out again, and in which order,
is decided here and not inside paho. paho gets no thread of its own: ours waits for the socket and drives it, so that a
result costs no switch between threads. paho's callbacks run while it holds its own locks, so they only enqueue.
"""

from __future__ import annotations

import logging
import queue
import random
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from jetspect.errors import PublishError
from jetspect.runtime.publishing.aside import Aside
from jetspect.runtime.publishing.broker import BrokerSettings, make_client
from jetspect.runtime.publishing.reasons import closed_before_login, explain, login_hint
from jetspect.runtime.publishing.renewal import Renewal
from jetspect.runtime.publishing.trial import try_login

log = logging.getLogger(__name__)
Event = tuple[str, Any]

_ANSWER_S = 10.0  # how long a broker may take to answer a login
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_STEADY_S = 10.0  # a connection that held this long starts the waits over


class Link:
    """Keeps a connection in a thread of its own; what is done with it, the methods of a subclass say.

    ``state`` is ``connecting``, ``online``, ``stopped``, or begins with ``unreachable:``, ``refused:`` or ``failed:`` and says
    why and what to check. It is logged when it changes, not at every attempt.
    """

    meanwhile = ""
    """Ends the log line about a connection that is not there."""

    def __init__(self, settings: BrokerSettings, client_id: str, *, clean: bool = True) -> None:
        self._settings, self._client_id, self._clean = settings, client_id, clean
        self.state = "connecting"
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._client: paho.Client | None = None  # while online
        self._waker: tuple[socket.socket, socket.socket] | None = None  # from start to close
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jetspect-mqtt", daemon=True)
        self._renewal = Renewal(settings)  # unusable secrets and certificates show here, at the start
        self._trial: Aside[str] = Aside("jetspect-trial", self._wake)
        self._renewing = False  # between the old connection and the one with new certificates
        make_client(settings, client_id, clean=clean, login=self._renewal.proven)
        if settings.username is not None and settings.tls is None and not settings.local:
            log.warning("%s gets the password unencrypted; set [broker.tls] and the broker's TLS port", settings.where)

    def start(self) -> None:
        """Connect in the background. A broker that is not there yet is waited for."""
        self._waker = socket.socketpair()
        for end in self._waker:
            end.setblocking(False)
        self._thread.start()

    def close(self) -> None:
        """Say goodbye and disconnect. Callable more than once, also before :meth:`start`."""
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        if self._waker is not None and not self._thread.is_alive():
            for end in self._waker:
                end.close()

    def alarms(self) -> tuple[str, ...]:
        """What needs a person, as 'kind: what happened and what to do'."""
        return self._renewal.alarms()

    def _wake(self) -> None:
        """Make the link's thread look; callable from any thread."""
        if self._waker is not None:
            with suppress(OSError):  # full: it is woken already; closed: it is gone
                self._waker[0].send(b"!")

    # What a subclass does with the connection; all of these run in the link's thread.

    def _prepare(self, client: paho.Client, events: queue.SimpleQueue[Event]) -> dict[str, Any]:
        """Set callbacks and will before the connection; return options for ``connect``."""
        return {}

    def _opened(self, client: paho.Client, properties: Properties | None) -> None:
        """The broker took the login."""

    def _handle(self, client: paho.Client, events: list[Event]) -> None:
        """Something happened, or a second went by."""

    def _lost(self) -> None:
        """The connection broke; its last events have been handled."""

    def _finish(self, client: paho.Client) -> None:
        """The connection is about to be renewed; take what is still on its way."""

    def _goodbye(self, client: paho.Client) -> None:
        """:meth:`close` was called."""

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while self._renewing or not self._stopping.is_set():
            began = time.monotonic()
            self._connect()
            if time.monotonic() - began > _STEADY_S:
                wait_s = _FIRST_WAIT_S
            if self._renewing:
                continue
            # A fleet that lost its broker must not come back in one instant.
            self._stopping.wait(wait_s * random.uniform(0.8, 1.2))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        self._set_state("stopped")

    def _connect(self) -> None:
        """Make one connection and serve it to its end, whatever end that is."""
        client, renewing, self._renewing = None, self._renewing, False
        try:
            login = self._renewal.next()
            client = make_client(self._settings, self._client_id, clean=self._clean, login=login)
            if self._open(client, renewing):
                self._renewal.worked(login)
                self._serve(client)
        except PublishError as error:
            self._set_state(f"failed: {error}")
        except Exception as error:
            # The thread must outlive a fault of ours: a new connection starts from the outbox again.
            log.exception("the connection to %s failed", self._settings.where)
            self._set_state(f"failed: {type(error).__name__}: {error}")
        finally:
            self._client = None
            if client is not None:
                self._hang_up(client)

    def _open(self, client: paho.Client, renewing: bool) -> bool:
        events = self._events = queue.SimpleQueue()

        def on_connect(c: paho.Client, data: Any, flags: Any, code: ReasonCode, properties: Properties | None) -> None:
            events.put(("opened", (code, properties)))

        def on_disconnect(c: paho.Client, data: Any, flags: Any, code: ReasonCode, properties: Any) -> None:
            events.put(("gone", str(code)))

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_socket_open = _no_delay
        client.on_socket_register_write = lambda *_: None  # with it, packets are written when we say so
        options = self._prepare(client, events)
        settings = self._settings
        try:
            client.connect(settings.host, settings.port, settings.keepalive_s, **options)
        except (OSError, UnicodeError) as error:
            self._set_state(f"unreachable: {settings.where}: {explain(error, settings)}")
            return False
        answer = self._await_answer(client, renewing)
        if answer is None:
            return False
        self._client = client
        self._opened(client, answer[1])
        self._set_state("online")
        return True

    def _await_answer(self, client: paho.Client, renewing: bool) -> tuple[ReasonCode, Properties | None] | None:
        where, deadline = self._settings.where, time.monotonic() + _ANSWER_S
        # Stopped while renewing, the link still connects: the broker believes the station online until it says goodbye.
        while renewing or not self._stopping.is_set():
            if self._events.empty():
                self._pump(client, max(0.0, deadline - time.monotonic()))
            try:
                kind, detail = self._events.get_nowait()
            except queue.Empty:
                if time.monotonic() < deadline:
                    continue
                self._set_state(f"unreachable: {where} does not answer the login; check that it is an MQTT broker")
                return None
            if kind == "opened":
                code, properties = detail
                if not code.is_failure:
                    return code, properties
                self._set_state(f"refused: {where} refuses the login ({code}); {login_hint(str(code))}")
                return None
            if kind == "gone":
                self._set_state(f"refused: {where} {closed_before_login(self._settings)}")
                return None
        return None

    def _serve(self, client: paho.Client) -> None:
        while not self._stopping.is_set():
            if not self._turn(client, 1.0):
                return
            if self._may_renew():
                self._set_state("connecting")
                self._finish(client)
                self._renewing = True
                return
        self._goodbye(client)

    def _may_renew(self) -> bool:
        """Whether there is a new certificate or password, and the broker takes it: that is tried while this goes on."""
        if not self._trial.busy:
            if (login := self._renewal.due()) is not None:
                client_id, stopping = f"{self._client_id}.renewal", self._stopping.is_set
                self._trial.start(lambda: try_login(self._settings, client_id, login, stopping))
            return False
        if not self._trial.done:
            return False
        reason = self._trial.take()
        if reason and not self._stopping.is_set():
            self._renewal.refused(reason)
        # Where the connection broke meanwhile, the next one may have proven it already.
        return not reason and self._renewal.newest is not self._renewal.proven

    def _turn(self, client: paho.Client, timeout_s: float) -> bool:
        """Handle everything that has happened, waiting for something; False once the connection is gone."""
        if self._events.empty():
            self._pump(client, timeout_s)
        events: list[Event] = []
        with suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        gone = [detail for kind, detail in events if kind == "gone"]
        if gone:
            self._client = None
        self._handle(client, events)
        if client.want_write():
            client.loop_write()
        if gone:
            self._lost()
            hint = "; another client uses the same broker.client_id" if "taken over" in gone[0] else ""
            self._set_state(f"unreachable: {self._settings.where} is gone ({gone[0]}){hint}")
        return not gone

    def _pump(self, client: paho.Client, timeout_s: float) -> None:
        """Wait for the socket or a wake-up, and let paho read, write and look after its keep-alive."""
        sock, waker = client.socket(), self._waker
        if sock is None or waker is None:
            return
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        poll.register(waker[1], select.POLLIN)
        held = sock.pending() if isinstance(sock, ssl.SSLSocket) else 0  # decrypted already: the socket says nothing
        ready = {number for number, _ in poll.poll(0 if held else 1e3 * timeout_s)}
        if waker[1].fileno() in ready:
            with suppress(OSError):
                waker[1].recv(4096)
        if held or sock.fileno() in ready:
            _quick_ack(sock)
            client.loop_read()
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def _hang_up(self, client: paho.Client) -> None:
        """Disconnect and close the socket, even where the broker no longer reads."""
        if client.is_connected():
            client.disconnect()
            # paho closes the socket once DISCONNECT is out; cut off before that, the broker would send the last will.
            deadline = time.monotonic() + 2
            while client.socket() is not None and time.monotonic() < deadline:
                client.loop_write()
                time.sleep(0.005)
        if (sock := client.socket()) is not None:
            with suppress(OSError):
                sock.close()

    def _set_state(self, state: str) -> None:
        if state == self.state:
            return
        self.state = state
        if state in ("online", "stopped"):
            log.info("%s: %s", self._settings.where, state)
        else:
            level = logging.WARNING if state.startswith("unreachable") else logging.ERROR
            log.log(level, "%s%s", state, self.meanwhile)


def _no_delay(client: paho.Client, data: Any, sock: Any) -> None:
    """Small packets leave at once instead of waiting for the acknowledgement of the one before."""
    with suppress(OSError):  # not every transport is TCP
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _quick_ack(sock: Any) -> None:
    """Confirm what came at once: brokers hold back the next answer until the one before is confirmed."""
    with suppress(OSError, AttributeError):  # Linux has it, for one read at a time
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
