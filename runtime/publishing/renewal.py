"""Certificates, keys and passwords that are replaced on the disk are taken without a restart."""

from __future__ import annotations

import hashlib
import logging
import math
import stat
import time
from collections.abc import Callable
from pathlib import Path

from jetspect.errors import PublishError
from jetspect.runtime.publishing.broker import BrokerSettings, Login, read_login

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_AGAIN_S = 60.0  # until files that the broker did not take are tried again
_WARN_DAYS = 14
_DAY_S = 86400.0
Stamp = tuple[tuple[int, int, int] | None, ...]


class Renewal:
    """Two logins: the one that got a connection last, and the newest that the files make.

    Files that cannot be used together (half written, a key of another certificate, a certificate that has expired) make no
    login: that is told once, and they are read again until they can. A new login that the broker refuses does not push out
    the one that it takes: ``next`` offers both in turn. All methods but :meth:`alarms` belong to one thread.

    Raises
    ------
    PublishError
        At the start a file cannot be used: there is nothing else to go on with.
    """

    def __init__(self, settings: BrokerSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._clock = settings, clock
        tls = settings.tls
        found = (settings.password_file, *((tls.ca, tls.cert, tls.key) if tls is not None else ()))
        self._files = tuple(path for path in found if path is not None)
        self._stamp, self._digest = self._look(), self._read()  # before the files are used: a later change shows
        self.proven = self.newest = read_login(settings)
        self._problem = ""
        self._looked_at = time.monotonic()
        self._try_at = 0.0
        self._turns = 0
        self._told_days: int | None = None
        for path in (settings.password_file, tls.key if tls is not None else None):
            if path is not None:
                _warn_if_open(path)
        self._warn_of_expiry()

    def next(self) -> Login:
        """Return what the next connection proves itself with: the newest login and the proven one, in turn."""
        self._reread()
        self._turns += 1
        return self.newest if self._turns % 2 else self.proven

    def worked(self, login: Login) -> None:
        """The broker took this login."""
        self.proven, self._turns = login, 0
        if login is self.newest:
            self._problem = ""
        self._warn_of_expiry()

    def due(self) -> Login | None:
        """Return a new login that should be tried beside the connection in use; looks once a second."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return None
        self._looked_at = now
        self._reread()
        self._warn_of_expiry()
        return self.newest if self.newest is not self.proven and now >= self._try_at else None

    def refused(self, reason: str) -> None:
        """The broker did not take what :meth:`due` gave; it is given again in a minute."""
        self._try_at = time.monotonic() + _AGAIN_S
        self._tell(f"{self._settings.where} does not take the new certificate or password: {reason}")

    def alarms(self) -> tuple[str, ...]:
        """What needs a person. Callable from any thread."""
        problem, expiry = self._problem, self._expiry()
        found = [f"credentials_not_taken: {problem}; those from before stay in use"] if problem else []
        return (*found, expiry) if expiry else tuple(found)

    def _reread(self) -> None:
        stamp = self._look()
        if stamp == self._stamp and not self._problem:
            return
        try:
            digest = self._read()
            if digest != self._digest:
                self.newest = self._good(read_login(self._settings))
                self._digest, self._try_at, self._turns = digest, 0.0, 0
                log.info("new certificates or passwords for %s are on the disk", self._settings.where)
                self._problem = ""
            elif self.newest is self.proven:
                self._problem = ""
            self._stamp = stamp
        except PublishError as error:  # the stamp stays old: they are read again
            self._tell(str(error))

    def _good(self, login: Login) -> Login:
        if login.certificate is not None and login.certificate.not_after.timestamp() < self._clock():
            path = self._settings.tls.cert if self._settings.tls is not None else None
            raise PublishError(
                f"broker.tls.cert: {path} has expired on {login.certificate.not_after:%Y-%m-%d %H:%M} UTC"
            )
        return login

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            log.error("%s; those from before stay in use", problem)
        self._problem = problem

    def _look(self) -> Stamp:
        return tuple(_stamp(path) for path in self._files)

    def _read(self) -> bytes:
        """Return a digest of what stands in the files: one that was only touched is no new one."""
        digest = hashlib.sha256()
        for path in self._files:
            try:
                data = path.read_bytes() if path.is_file() else b""  # a pipe could be read once
            except OSError:  # whoever uses it says so
                data = b"?"
            digest.update(hashlib.sha256(data).digest())
        return digest.digest()

    def _days(self) -> int | None:
        """Whole days that the own certificate is still good; negative once it has expired."""
        certificate = self.proven.certificate
        return None if certificate is None else math.floor((certificate.not_after.timestamp() - self._clock()) / _DAY_S)

    def _expiry(self) -> str:
        days, certificate, tls = self._days(), self.proven.certificate, self._settings.tls
        if days is None or days >= _WARN_DAYS or certificate is None or tls is None:
            return ""
        when = f"on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
        todo = f"put a new one in place of {tls.cert}, it is taken without a restart"
        if days < 0:
            return f"certificate_expired: the station's certificate expired {when}; {todo}"
        return f"certificate_expires: the station's certificate expires {when}; {todo}"

    def _warn_of_expiry(self) -> None:
        """Log it once a day."""
        if (days := self._days()) != self._told_days:
            self._told_days = days
            if expiry := self._expiry():
                log.warning("%s", expiry)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _warn_if_open(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & 0o007:
        log.warning("%s can be read by everybody (mode %04o); it is a secret: chmod o-rwx it", path, mode & 0o7777)
