"""A unit that is reached over SSH: a Debian root with a server of its own, and a person who may become root."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from debian_root import DebianRoot

USER = "integrator"
# PAM asks for a session that a root without systemd does not have.
_SERVE = (
    'mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -p "$1" -o ListenAddress=127.0.0.1 -h /etc/ssh/unit_key -o UsePAM=no '
    "-o PasswordAuthentication=no"
)
_PERSON = f"""
useradd --create-home --shell /bin/sh --password '*' {USER}
echo '{USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
cat > /home/{USER}/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/unit_key
cat /etc/ssh/unit_key.pub
"""


class SshUnit:
    """Serves from entering to leaving; what was changed stays to be looked at."""

    def __init__(self, folder: Path, login: Path) -> None:
        self._root = DebianRoot(folder)
        self._log = folder / "sshd.log"
        made = self._root.run("sh", "-ec", _PERSON, stdin=login.with_suffix(".pub").read_bytes())
        self.host_key = " ".join(made.stdout.decode().split()[-3:-1])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> Path:
        """Where a file that was written on the unit lies."""
        return self._root.changed / name.lstrip("/")

    def exists(self, name: str) -> bool:
        path = self.path(name)
        return path.is_symlink() or (path.exists() and not path.is_char_device())  # a character device: it was deleted

    def __enter__(self) -> SshUnit:
        with self._log.open("wb") as log:
            command = self._root.command("sh", "-ec", _SERVE, "serve", str(self.port))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError(f"sshd does not answer: {self._log.read_text()}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
