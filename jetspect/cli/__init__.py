"""The ``jetspect`` command. Every command answers in words or, with ``--json``, for machines.

Exit codes: 0 done and good; 1 done, but the answer is no (a part is NOK or UNKNOWN, a bundle does not verify, an accuracy
goal is missed); 2 it could not be done (wrong options, bad input, missing parts).
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from jetspect import __version__
from jetspect.cli import (
    archive,
    bench,
    build,
    bundle,
    calibrate,
    camera,
    data,
    demo,
    device,
    evaluate,
    export,
    inspect,
    replay,
    run,
    schema,
    sparkplug,
    study,
    subscribe,
    train,
)
from jetspect.cli.output import fail
from jetspect.errors import JetspectError

app = typer.Typer(
    name="jetspect",
    help="Visual defect inspection on embedded GPU devices: from a trained model to a published verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(bundle.app, name="bundle")
app.add_typer(data.app, name="data")
app.add_typer(device.app, name="device")
app.add_typer(camera.app, name="camera")
app.add_typer(bench.app, name="bench")
app.command()(inspect.inspect)
app.command()(run.run)
app.command()(subscribe.subscribe)
app.command()(replay.replay)
app.command()(archive.archive)
app.command()(sparkplug.sparkplug)
app.command()(demo.demo)
app.command()(train.train)
app.command()(study.study)
app.command()(export.export)
app.command()(calibrate.calibrate)
app.command()(build.build)
app.command()(evaluate.evaluate)
app.command()(schema.schema)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"jetspect {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens inside, to stderr.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def main() -> None:
    """Run the command line; errors raised on purpose become one line on stderr and exit code 2."""
    try:
        app()
    except JetspectError as error:
        fail(error, as_json="--json" in sys.argv)
    except Exception as error:
        # A fault of ours must not look like an answer (exit code 1) to a machine.
        told = JetspectError(f"unexpected {type(error).__name__}: {error}; run with -v and report what it prints")
        if any(word in sys.argv for word in ("-v", "--verbose")):
            logging.getLogger("jetspect").exception("unexpected error")
        fail(told, as_json="--json" in sys.argv)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
