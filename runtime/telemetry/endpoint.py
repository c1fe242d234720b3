"""``/metrics`` and ``/healthz`` over HTTP, for those who may ask and against those who only hold on to connections.

Every answer closes its connection. A connection has a time in which all of it must be done, whatever it sends meanwhile,
and of those that are open only so many stay: a new one costs the oldest its place. So the numbers stay within reach, with
few threads, however many half-open connections there are.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any

from jetspect.errors import ConfigError
from jetspect.runtime.telemetry.collect import Telemetry
from jetspect.runtime.telemetry.prometheus import CONTENT_TYPE, exposition, require_prometheus
from jetspect.runtime.telemetry.settings import MetricsSettings

log = logging.getLogger(__name__)

_MOST_OPEN, _MOST_THREADS = 16, 32  # more threads than connections: one that was cut off takes a moment to end
_WHOLE_S = 5.0  # for one connection, from its first byte to its last
_FRESH_S = 1.0  # a scrape may get numbers this old: asking the outbox costs the line a little
_ADVICE = "end what listens there, choose another port, or an address that this machine has"
_PLAIN = "text/plain; charset=utf-8"


class _Numbers:
    """The text for Prometheus, made once for all who ask at the same time."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._text, self._made = b"", float("-inf")

    def text(self) -> bytes | None:
        """None where they take too long, because the outbox's disk does not answer."""
        if not self._lock.acquire(timeout=_WHOLE_S / 2):
            return None
        try:
            if time.monotonic() - self._made > _FRESH_S:
                self._text = exposition(self._telemetry.snapshot())
                self._made = time.monotonic()
            return self._text
        finally:
            self._lock.release()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _WHOLE_S
    error_content_type, error_message_format = _PLAIN, "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            faults = self.server.telemetry.not_ready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
            self._answer(status, _PLAIN, "".join(f"{line}\n" for line in faults or ("ok",)).encode("utf-8", "replace"))
        else:
            self._answer(HTTPStatus.NOT_FOUND, _PLAIN, b"there is /metrics and /healthz\n")

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, _PLAIN, b"only GET and HEAD\n")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _metrics(self) -> None:
        try:
            text = self.server.numbers.text()
        except Exception:  # whoever scrapes must not take the endpoint down; the next scrape tries again
            log.exception("the numbers of the station cannot be read")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _PLAIN, b"the numbers cannot be read; see the log\n")
            return
        if text is None:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, b"the outbox's disk does not answer\n")
        else:
            self._answer(HTTPStatus.OK, CONTENT_TYPE, text)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "jetspect"  # and no word of the Python below it

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s " + format, self.client_address[0], *args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # close() waits for them, but not for ever
    allow_reuse_port = False  # a second station on the same port must fail
    request_queue_size = 256  # what waits to be taken; more than that is made to try again after a second

    def __init__(self, settings: MetricsSettings, telemetry: Telemetry) -> None:
        self.telemetry, self.numbers = telemetry, _Numbers(telemetry)
        self.address_family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
        self._open: dict[socket.socket, float] = {}  # since when; the oldest first
        self._threads_open: set[threading.Thread] = set()
        self._gate = threading.Lock()
        super().__init__((settings.address, settings.port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer would ask the DNS for our name, which may take its time

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)  # no file descriptor left: the connection still waits, and would be tried without a pause
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._serve, args=(request, client_address), name="jetspect-metrics-answer", daemon=True
        )
        with self._gate:
            full = len(self._threads_open) >= _MOST_THREADS
            if not full:
                self._threads_open.add(thread)
                self._open[request] = time.monotonic()
                if len(self._open) > _MOST_OPEN:
                    oldest = next(iter(self._open))
                    del self._open[oldest]
                    _cut(oldest)
        if full:
            self.shutdown_request(request)
            return
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads
            self._done(request, thread)
            raise

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            self._done(request, threading.current_thread())

    def _done(self, request: socket.socket, thread: threading.Thread) -> None:
        with self._gate:
            self._open.pop(request, None)
            self._threads_open.discard(thread)

    def service_actions(self) -> None:
        """Called after every connection, and some times a second."""
        late = time.monotonic() - _WHOLE_S
        with self._gate:
            for request in [request for request, since in self._open.items() if since < late]:
                _cut(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("the connection of %s ended early", client_address[0], exc_info=True)

    def cut_all(self) -> None:
        with self._gate:
            threads = list(self._threads_open)
            for request in self._open:
                _cut(request)
        deadline = time.monotonic() + 2.0
        for thread in threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))


class MetricsEndpoint:
    """Listens from the start to :meth:`close`, in a thread of its own.

    Raises
    ------
    ConfigError
        The address or port cannot be had.
    MissingDependencyError
        prometheus-client is not installed.
    """

    def __init__(self, settings: MetricsSettings, telemetry: Telemetry) -> None:
        require_prometheus()
        try:
            self._server = _Server(settings, telemetry)
        except OSError as error:
            where = f"address {settings.address}, port {settings.port}"
            reason = error.strerror or str(error)
            raise ConfigError("metrics", [f"{where} cannot be used: {reason}; {_ADVICE}"]) from error
        self.port = int(self._server.server_address[1])
        host = f"[{settings.address}]" if ":" in settings.address else settings.address
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="jetspect-metrics", daemon=True
        )
        self._thread.start()
        log.info("metrics at %s/metrics, health check at %s/healthz", self.url, self.url)

    def close(self) -> None:
        """Take no more connections and cut those that are open. Callable more than once."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server.cut_all()

    def __enter__(self) -> MetricsEndpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cut(request: socket.socket) -> None:
    """End both directions, so that its thread comes back from wherever it waits."""
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
