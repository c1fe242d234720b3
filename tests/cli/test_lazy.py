"""Commands are imported when they are called, and are listed as if they had been before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from commands import REPOSITORY, jetspect
from typer.main import get_command
from typer.testing import CliRunner

from jetspect.cli import app
from jetspect.cli.lazy import Lazy, LazyGroup

HEAVY = {"cv2", "numpy", "pydantic", "paho", "jetspect.runtime"}


def listed(group: Any, path: str = "") -> Iterator[tuple[str, Lazy, Any]]:
    """Yield the place of every command, its line in its group's table, and the command itself."""
    ctx = group.make_context("jetspect", [], resilient_parsing=True)
    for lazy in group.table:
        command = group.resolve_command(ctx, [lazy.name])[1]
        yield f"{path} {lazy.name}", lazy, command
        if isinstance(command, LazyGroup):
            yield from listed(command, f"{path} {lazy.name}")


def test_help_and_version_import_no_command() -> None:
    code = (
        "import sys\n"
        "from jetspect.cli import main\n"
        "for words in (['--version'], ['--help'], ['bench', '--help']):\n"
        "    sys.argv = ['jetspect', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    print('loaded', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    version, top, bench = (set(line.split()) for line in done.stdout.splitlines() if line.startswith("loaded "))
    assert "jetspect 0." in done.stdout and "sparkplug" in done.stdout and "gating" in done.stdout, done.stderr
    assert not HEAVY & (version | top)
    assert not HEAVY & bench - {"pydantic"}  # Typer may take it to read the options on the way to a group


def test_every_listed_line_is_the_first_paragraph_of_the_commands_own_help() -> None:
    found = list(listed(get_command(app)))
    assert {" inspect", " bench tiles", " camera list", " device power"} <= {path for path, _, _ in found}
    for path, lazy, command in found:
        assert command.name == lazy.name, path
        assert " ".join(command.help.split("\n\n")[0].split()) == lazy.line, path


def test_names_and_options_of_what_is_not_imported_yet_are_completed() -> None:
    def completed(words: str) -> list[str]:
        asked = {"_JETSPECT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return CliRunner().invoke(app, [], env=asked).stdout.split()

    assert completed("jetspect s") == ["subscribe", "sparkplug", "study", "schema"]
    assert completed("jetspect bench la") == ["latency"]
    assert completed("jetspect device selftest --ba") == ["--batch"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inspekt",), "No such command 'inspekt'. Did you mean 'inspect'?"),
        (("device", "nothing"), "No such command 'nothing'."),
        (("bench", "nowhere"), "nowhere does not exist"),
    ],
)
def test_a_name_that_is_no_command_is_refused(words: tuple[str, ...], says: str) -> None:
    done = jetspect(*words)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
