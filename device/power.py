"""Set the power mode of a Jetson through NVIDIA's own tools, and say how to undo it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT
from jetspect.device.power_changes import changes
from jetspect.device.power_modes import PowerMode, PowerModes, read_power_modes
from jetspect.errors import InputError, JetspectError

_PLACES = ("usr/sbin", "usr/bin", "sbin", "bin")
_KEPT = "run/jetspect-clocks.conf"  # a reboot ends both: clocks that are held, and the file
_LIMIT_S = 60.0
_REBOOT = re.compile(r"reboot\s+(is\s+)?required", re.IGNORECASE)
_INSTALL = "sudo apt-get install nvidia-l4t-nvpmodel nvidia-l4t-tools"


@dataclass(frozen=True)
class Changed:
    """What was done, and the commands that take it back, in order."""

    before: PowerMode | None
    after: PowerMode | None
    did: tuple[str, ...]
    undo: tuple[str, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """The knobs that differ, in words."""
        return changes(self.before, self.after)


def set_power(mode: str, *, clocks: bool = False, root: Path = ROOT, user: int | None = None) -> Changed:
    """Set a power mode by name or number; with ``clocks`` hold all clocks at its maximum afterwards.

    The clocks as they were are kept in a file first, once, so that they can be restored.

    Parameters
    ----------
    user
        Number of the user who asks; None: the one of this process.

    Raises
    ------
    InputError
        There is no such mode.
    JetspectError
        This is no Jetson, the rights are missing, or NVIDIA's tool failed or did not change the mode.
    """
    modes = read_power_modes(root)
    nvpmodel = _tool("nvpmodel", root)
    jetson_clocks = _tool("jetson_clocks", root) if clocks else None
    if not modes.modes:
        raise JetspectError(f"/etc/nvpmodel.conf lists no power modes; install it again with: {_INSTALL}")
    wanted = modes.named(mode)
    if wanted is None:
        have = ", ".join(f"{m.number} {m.name}" for m in modes.modes)
        raise InputError(f"this board has no power mode {mode!r}; it has {have}")
    if (os.geteuid() if user is None else user) != 0:
        flag = " --clocks" if clocks else ""
        raise JetspectError(
            f"setting the power mode needs root; run: sudo jetspect device power set {wanted.name}{flag}"
        )
    did: list[str] = []
    held = modes.current != wanted and (root / _KEPT).exists()
    if held:
        # What is kept are the limits of the mode that ends here: they must never come back on another one.
        _release_clocks(_tool("jetson_clocks", root), root, did)
    if modes.current != wanted:
        said = _run([nvpmodel, "-m", str(wanted.number)])
        if _REBOOT.search(said) or read_power_modes(root).current != wanted:
            raise _wants_reboot(wanted)
        did.append(f"nvpmodel -m {wanted.number}")
    undo = []
    if jetson_clocks is not None:
        undo.append(_hold_clocks(jetson_clocks, root, did))
    undo += _undo_mode(modes, wanted, held=held)
    return Changed(modes.current, read_power_modes(root).current, tuple(did), tuple(undo))


def _hold_clocks(tool: str, root: Path, did: list[str]) -> str:
    """Keep the clocks as they are now, then hold them; return the command that restores them."""
    kept = root / _KEPT
    if not kept.exists():  # a second call would keep what the first one set
        _run([tool, "--store", str(kept)])
        did.append(f"jetson_clocks --store {kept}")
    _run([tool])
    did.append("jetson_clocks")
    return f"sudo jetson_clocks --restore {kept} && sudo rm {kept}"


def _release_clocks(tool: str, root: Path, did: list[str]) -> None:
    kept = root / _KEPT
    _run([tool, "--restore", str(kept)])
    kept.unlink()
    did.append(f"jetson_clocks --restore {kept}")


def _undo_mode(before: PowerModes, wanted: PowerMode, *, held: bool) -> tuple[str, ...]:
    number = before.default if before.current is None else before.current.number
    if number is None or number == wanted.number:
        return ()
    return (f"sudo jetspect device power set {number} --clocks" if held else f"sudo nvpmodel -m {number}",)


def _wants_reboot(wanted: PowerMode) -> JetspectError:
    return JetspectError(
        f"nvpmodel did not change the mode to {wanted.name}, it needs a reboot for it; run: sudo nvpmodel -m "
        f"{wanted.number}, and answer its question with YES"
    )


def _tool(name: str, root: Path) -> str:
    """Find one of NVIDIA's tools, under the root or on the PATH; sudo's own PATH may lack /usr/sbin."""
    found = next((str(path) for p in _PLACES if os.access(path := root / p / name, os.X_OK)), None)
    if found is None and root == ROOT:
        found = shutil.which(name)
    if found is None:
        raise JetspectError(
            f"{name} is not on this machine: only a Jetson has power modes; where this is one, install it with: {_INSTALL}"
        )
    return found


def _run(command: list[str]) -> str:
    """Run a tool and return what it says. It gets no input: nvpmodel would ask whether to reboot."""
    name = Path(command[0]).name
    shown = " ".join([name, *command[1:]])
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise JetspectError(
            f"{shown} did not end within {_LIMIT_S:.0f} s; run it by hand and see what it waits for"
        ) from error
    except OSError as error:
        raise JetspectError(
            f"{shown} cannot be run: {error.strerror or error}; install it again with: {_INSTALL}"
        ) from error
    told = f"{done.stdout} {done.stderr}"
    if done.returncode and not _REBOOT.search(told):  # without an answer to its question it fails, or not, by version
        said = " ".join((done.stderr or done.stdout).split())[-300:] or "it says nothing"
        raise JetspectError(f"{shown} failed with exit code {done.returncode}: {said}; run it by hand: sudo {shown}")
    return told
