"""Brings a unit up at its first boot, offline: packages, service, bundle, self-test, report.

This file is copied to the unit as it stands and run by the system's Python, because jetspect is what it installs: the
standard library alone, from Python 3.10 on. Steps that succeeded are noted; after a power cut the next run goes on there.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOTE = Path(__file__).resolve().with_name("unit.json")
STATE = Path("/var/lib/jetspect-first-boot")
COMMISSIONED = STATE / "commissioned"
UNIT = "jetspect-first-boot.service"
_LINK = Path("/etc/systemd/system/multi-user.target.wants", UNIT)
_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_SYNC_S, _LOOK_S = 60.0, 1.0
_AGAIN = "it is tried again every minute and at the next boot"


class Trouble(Exception):
    """A step cannot be done; the message says why and what to do."""


@dataclass(frozen=True)
class Note:
    """``unit.json``: what this overlay is. ``issued`` and ``not_after`` are the certificate's, in seconds since 1970."""

    id: str
    unit: str
    python: str
    architecture: str
    issued: int
    not_after: int
    time_servers: bool
    unsigned: bool
    user: str
    private: tuple[str, ...]
    station: str
    state: str
    home: str
    wheels: str
    bundle: str

    @classmethod
    def read(cls, path: Path) -> Note:
        try:
            data = json.loads(path.read_text("utf-8"))
            return cls(**{**data, "private": tuple(data["private"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise Trouble(f"{path} cannot be used ({error}); unpack the overlay again") from error


class Clock:
    """The system's clock."""

    def now(self) -> float:
        return time.time()

    def set(self, seconds: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, seconds)

    def wait_synchronised(self) -> bool:
        deadline = time.monotonic() + _SYNC_S
        while not _SYNCHRONISED.exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True


class Progress:
    """Which steps were done for this overlay; a new overlay begins anew."""

    def __init__(self, overlay_id: str, folder: Path = STATE) -> None:
        self._id, self._path = overlay_id, folder / "steps.json"
        self._stamp = folder / COMMISSIONED.name
        self.done: list[str] = []
        try:
            data = json.loads(self._path.read_text("utf-8"))
            self.done = [str(step) for step in data["done"]] if data["id"] == overlay_id else []
        except (OSError, ValueError, TypeError, KeyError):  # none yet, or cut off: every step can be repeated
            self.done = []
        if "self-test" not in self.done:
            self._stamp.unlink(missing_ok=True)

    def add(self, step: str) -> None:
        self.done.append(step)
        _write(self._path, json.dumps({"id": self._id, "done": self.done}) + "\n")
        if step == "self-test":
            _write(self._stamp, f"{self._id}\n")


def check_clock(note: Note, clock: Clock) -> None:
    """Certificates need a time that is not wholly wrong; boards without a battery wake up in 1970."""
    now = clock.now()
    if now < note.issued:
        try:
            clock.set(note.issued)
        except OSError as error:
            raise Trouble(
                f"the clock says {_day(now)}, and the unit's certificate begins at {_day(note.issued)}; it cannot be set "
                f"({error.strerror}): sudo date -s '{_day(note.issued)}'"
            ) from error
        say(f"the clock said {_day(now)}; set to {_day(note.issued)}, when the overlay was made")
    if live() and note.time_servers and not clock.wait_synchronised():
        say(f"no time server answered in {_SYNC_S:.0f} s; going on with {_day(clock.now())}")
    if clock.now() > note.not_after:
        raise Trouble(
            f"the clock says {_day(clock.now())}, and the unit's certificate ended at {_day(note.not_after)}; correct the "
            "clock, or make the overlay anew: jetspect device provision --renew"
        )


def check_machine(note: Note) -> None:
    """Wheels and graphs are for one Python and one architecture."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if (here, platform.machine()) != (note.python, note.architecture):
        raise Trouble(
            f"this overlay is for Python {note.python} on {note.architecture}, this is Python {here} on {platform.machine()}; "
            "flash the JetPack that the fleet file says, or correct [target]"
        )


def install_packages(note: Note) -> None:
    """Make the environment anew. pip runs from its wheel, because an image may lack python3-venv."""
    pip = sorted(Path(note.wheels).glob("pip-*.whl"))
    if not pip:
        raise Trouble(f"{note.wheels} has no wheel of pip; unpack the overlay again")
    run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", "--clear", note.home)
    run(
        f"{note.home}/bin/python3", "-I", f"{pip[-1]}/pip", "install", "--quiet", "--no-index", "--no-deps", "--no-cache-dir",
        "--disable-pip-version-check", "--root-user-action=ignore", "--no-compile", "--find-links", note.wheels,
        "--require-hashes", "--requirement", f"{note.wheels}/requirements.lock",
    )  # fmt: skip
    # The station may not write there, and would compile at each start; on all cores, and not what it never imports.
    compiling = ("-m", "compileall", "-q", "-q", "-j", "0", "-x", "/(tests|pip)/", f"{note.home}/lib")
    run(f"{note.home}/bin/python3", "-I", *compiling)


def install_service(note: Note) -> None:
    """The station's unit, its user, its folders, and to it what only it may read."""
    run(*_jetspect(note), "device", "install", note.station)
    run("systemd-sysusers")
    if Path("/etc/tmpfiles.d/jetspect.conf").exists():
        run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/jetspect.conf")
    user = _user(note)
    state = Path(note.state)
    state.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.chown(state, user.pw_uid, user.pw_gid)
    hand_over(note)


def hand_over(note: Note) -> None:
    """Give key and passwords to the station's user."""
    user = _user(note)
    for name in note.private:
        os.chown(name, user.pw_uid, user.pw_gid)


def deploy_bundle(note: Note) -> None:
    """Verify it, build its engine where there is one to build, prove it, make it live."""
    unsigned = ["--unsigned"] if note.unsigned else []
    run_as_station(note, "device", "deploy", note.bundle, "--station", note.station, *unsigned)


def self_test(note: Note) -> None:
    run_as_station(note, "device", "commission", "--station", note.station)


def publish(note: Note) -> None:
    run_as_station(note, "device", "commission", "--station", note.station, "--publish")


STEPS: tuple[tuple[str, str, Callable[[Note], None]], ...] = (
    ("packages", "installed from the wheels of the overlay, without a network", install_packages),
    ("service", "the station's unit, user and folders", install_service),
    ("bundle", "verified, built for this GPU where that is needed (many minutes), proven", deploy_bundle),
    ("self-test", "every part that the station will use", self_test),
    ("report", "to the broker", publish),
)


def bring_up(note: Note) -> None:
    """Do what was not done yet."""
    progress = Progress(note.id)
    if "service" in progress.done:
        hand_over(note)  # who unpacks the same overlay again makes them root's
    if len(progress.done) == len(STEPS):
        disable()
        say(f"{note.unit} was brought up before; nothing to do")
        return
    check_machine(note)
    check_clock(note, Clock())
    for number, (name, what, step) in enumerate(STEPS, 1):
        if name in progress.done:
            continue
        if name == "report":
            start()
        say(f"[{number}/{len(STEPS)}] {name}: {what}")
        step(note)
        progress.add(name)
    disable()
    say(f"{note.unit} is up; what was found: {note.state}/first-boot.json")


def start() -> None:
    if live():
        run("systemctl", "daemon-reload")
        # Its unit waits for this one to end.
        run("systemctl", "start", "--no-block", "jetspect.service")
    else:
        say("systemd does not run here: jetspect.service starts at the next boot")


def disable() -> None:
    _LINK.unlink(missing_ok=True)


def live() -> bool:
    return Path("/run/systemd/system").is_dir()


def run(*words: str) -> None:
    _finish(words, {})


def run_as_station(note: Note, *words: str) -> None:
    """As the station's user: engines are only run by who built them, and what it may not read must show now."""
    user = _user(note)
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    _finish(
        (*_jetspect(note), *words), {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups, "umask": 0o027}
    )


def _finish(words: tuple[str, ...], options: dict[str, object]) -> None:
    home = "/root" if not options else pwd.getpwuid(int(str(options["user"]))).pw_dir
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": home,
        "LANG": "C.UTF-8",
    }
    try:
        code = subprocess.run(words, check=False, env=environment, cwd="/", **options).returncode  # type: ignore[call-overload]
    except OSError as error:
        raise Trouble(f"{words[0]} cannot be run: {error.strerror or error}") from error
    if code:
        raise Trouble(f"this ended with {code}, its reason is above: {' '.join(words)}")


def _jetspect(note: Note) -> tuple[str, ...]:
    return (f"{note.home}/bin/python3", "-I", "-m", "jetspect")


def _user(note: Note) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(note.user)
    except KeyError as error:
        raise Trouble(
            f"there is no user {note.user}, which the step service makes; delete {STATE}/steps.json"
        ) from error


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time; the lock goes with the process."""
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Trouble("another first boot runs on this unit; see: journalctl -fu jetspect-first-boot") from error
        yield


def _write(path: Path, text: str) -> None:
    """On the disk before the name counts."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def say(text: str) -> None:
    sys.stdout.write(f"jetspect: {text}\n")
    sys.stdout.flush()


def main(note: Path = NOTE) -> int:
    """Return the exit code; whatever goes wrong is one line on the console."""
    os.umask(0o022)
    try:
        if os.geteuid() != 0:
            raise Trouble("the first boot is root's; run it with sudo")
        with _alone():
            bring_up(Note.read(note))
    except (Trouble, OSError, shutil.Error) as error:
        say(f"NOT brought up: {error}")
        say(_AGAIN)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
