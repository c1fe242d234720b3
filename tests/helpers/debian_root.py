"""A Debian of its own for a test: what ``tests/debian_root.sh`` made, and a layer that keeps what is changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BASE = Path(__file__).parents[2] / ".debian-root"
# In namespaces of its own: mounts, processes and host name vanish with the command, whatever becomes of the test.
_NAMESPACES = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
_ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
root=$2/root
shift 2
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
mount --rbind -o ro /sys "$root/sys"
exec chroot "$root" "$@"
"""


class DebianRoot:
    """A machine made of files; nothing runs in it but the command that was asked for, one at a time."""

    def __init__(self, folder: Path) -> None:
        assert os.geteuid() == 0, "a Debian root is entered as root; run the tests as root"
        assert BASE.is_dir(), "there is no Debian root; run: make debian-root"
        self._folder = folder.resolve()
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir(parents=True)

    @property
    def changed(self) -> Path:
        """Everything that was written, seen from outside; deleted files stay as overlay's whiteouts. Read only, please."""
        return self._folder / "upper"

    def command(self, *words: str) -> list[str]:
        """What a test starts to run something in here, such as a daemon; two at once would share the layer: do not."""
        return [*_NAMESPACES, "sh", "-c", _ENTER, "enter", str(BASE), str(self._folder), *words]

    def run(
        self, *words: str, stdin: bytes | None = None, check: bool = True, timeout_s: float = 240.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end as root in here. stdout and stderr are one."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LC_ALL": "C.UTF-8",
            },
            timeout=timeout_s,
        )
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout.decode()}"
        return done

    def text(self, path: str) -> str:
        return self.run("cat", path).stdout.decode()
