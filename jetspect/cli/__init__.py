"""The ``jetspect`` command. Every command answers in words or, with ``--json``, for machines.

Exit codes: 0 done and good; 1 done, but the answer is no (a part is NOK or UNKNOWN, a bundle does not verify, an accuracy
goal is missed); 2 it could not be done (wrong options, bad input, missing parts).
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated, NoReturn

import typer

from jetspect import __version__
from jetspect.cli.lazy import Lazy, LazyGroup
from jetspect.errors import JetspectError


class _Commands(LazyGroup):
    table = (
        Lazy(
            "inspect",
            "jetspect.cli.inspect:inspect",
            "Inspect images and say OK, NOK or UNKNOWN for each. Exit code 1 when any is not OK.",
        ),
        Lazy(
            "run",
            "jetspect.cli.run:run",
            "Run a station until its source ends, or until SIGTERM or Ctrl-C; what was captured is still "
            "inspected and kept.",
        ),
        Lazy(
            "subscribe",
            "jetspect.cli.subscribe:subscribe",
            "Show results as they come: a live table, or with --jsonl one result per line. Repetitions are dropped.",
        ),
        Lazy(
            "replay",
            "jetspect.cli.replay:replay",
            "Ask a station to publish a range of results again. They come on its result topic, with the event_id "
            "they had.",
        ),
        Lazy(
            "archive",
            "jetspect.cli.archive:archive",
            "Store results in SQLite or PostgreSQL, each once. The broker keeps a result until it is committed.",
        ),
        Lazy(
            "sparkplug",
            "jetspect.cli.sparkplug:sparkplug",
            "Show stations as devices of a Sparkplug B edge node, until SIGTERM or Ctrl-C. A broker that is away "
            "is waited for.",
        ),
        Lazy(
            "demo",
            "jetspect.cli.demo:demo",
            "Inspect a stream of generated 20-megapixel parts, receive the results over MQTT and write a report.",
        ),
        Lazy(
            "train",
            "jetspect.cli.train:train",
            "Train a model; a run that was interrupted goes on where it was. Leaves best.pt, log.csv and curve.png.",
        ),
        Lazy(
            "study",
            "jetspect.cli.study:study",
            "Train every model with every loss and print precision, recall, F1 and IoU over all validation pixels.",
        ),
        Lazy(
            "export",
            "jetspect.cli.export:export",
            "Export a model as a bundle: FP32 and FP16 graphs, measured halo, parity and golden tiles from real "
            "images.",
        ),
        Lazy(
            "calibrate",
            "jetspect.cli.calibrate:calibrate",
            "Quantise a bundle's model to INT8 on defect crops, judge it, and put its INT8 graphs into the bundle.",
        ),
        Lazy(
            "build",
            "jetspect.cli.build:build",
            "Build a bundle's TensorRT engine on this device, prove it on the golden tiles and keep it for the "
            "stations.",
        ),
        Lazy(
            "evaluate",
            "jetspect.cli.evaluate:evaluate",
            "Compare what a bundle finds with the labels of a data set, through the same code that a station runs.",
        ),
        Lazy(
            "schema",
            "jetspect.cli.schema:schema",
            "Write JSON Schemas and the AsyncAPI 3 document of everything that goes over MQTT.",
        ),
        Lazy("bundle", "jetspect.cli.bundle:app", "Look at, lint, verify and sign bundles."),
        Lazy(
            "data",
            "jetspect.cli.data:app",
            "Look at labelled data sets: which kinds can be read, and whether one is fit to learn from.",
        ),
        Lazy("device", "jetspect.cli.device:app", "The device: is it fit to run a station?"),
        Lazy("camera", "jetspect.cli.camera:app", "Cameras: find, focus, record and calibrate them."),
        Lazy(
            "bench",
            "jetspect.cli.bench:app",
            "Measure this machine: the graphs of a bundle (jetspect bench BUNDLE), or the publishing.",
        ),
    )


app = typer.Typer(
    name="jetspect",
    cls=_Commands,
    help="Visual defect inspection on embedded GPU devices: from a trained model to a published verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
        _fail(error)
    except Exception as error:
        # A fault of ours must not look like an answer (exit code 1) to a machine.
        told = JetspectError(f"unexpected {type(error).__name__}: {error}; run with -v and report what it prints")
        if any(word in sys.argv for word in ("-v", "--verbose")):
            logging.getLogger("jetspect").exception("unexpected error")
        _fail(told)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _fail(error: JetspectError) -> NoReturn:
    # Not above: it brings rich, and completion, which a person waits for at every Tab, asks for nothing of it.
    from jetspect.cli.output import fail

    fail(error, as_json="--json" in sys.argv)
