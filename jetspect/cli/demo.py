"""``jetspect demo``: the main job on generated parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import jetspect
from jetspect.cli.output import VERDICT_STYLE, JsonOption, console, print_json
from jetspect.errors import InputError
from jetspect.runtime.publishing.result_message import ResultMessage


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, results and report.")] = Path("demo"),
    bundle: Annotated[Path | None, typer.Option(help="Bundle; the repository's metal-demo by default.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Parts to show.")] = 8,
    width: Annotated[int, typer.Option(help="Frame width in px.")] = 5472,
    height: Annotated[int, typer.Option(help="Frame height in px.")] = 3648,
    seed: Annotated[int, typer.Option(help="Other seeds show other parts.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Inspect a stream of generated 20-megapixel parts, receive the results over MQTT and write a report.

    Example: jetspect demo --frames 4
    """
    from jetspect.benchmarks.demo import run_demo

    bundle = bundle or _shipped()

    def tell(message: ResultMessage, total: int) -> None:
        if not as_json:
            style, verdict = VERDICT_STYLE[message.verdict.value], message.verdict.value
            found = ", ".join(d.class_name for d in message.defects[:4]) or "no defect"
            took = message.timings_ms["total"] / 1000
            console.print(f"  received {message.seq}/{total}  [{style}]{verdict:7}[/]  {took:.1f} s  {found}")

    if not as_json:
        console.print(f"inspecting {frames} generated parts of {width} x {height} px with {bundle.name}")
    done = run_demo(bundle, out, frames=frames, size_wh=(width, height), seed=seed, on_result=tell)
    if as_json:
        print_json(done.summary)
        return
    s = done.summary
    counts = ", ".join(f"{n} {name}" for name, n in s["verdicts"].items())
    console.print(
        f"{counts}; {s['megapixels_per_s']:.1f} MP/s, {100 * s['outside_engine']:.1f} % outside the engine, "
        f"peak memory {s['peak_memory_mb']:.0f} MB\n"
        f"look at [bold]{done.report}[/bold], {done.images}{'/'} and {done.results}\n"
        "next:\n"
        f"  jetspect bundle show {bundle}\n"
        f"  jetspect inspect {bundle} {_picture(done.images)}\n"
        "  jetspect run examples/station.toml --check"
    )


def _shipped() -> Path:
    for root in (Path.cwd(), Path(jetspect.__file__).resolve().parent.parent):
        path = root / "bundles" / "metal-demo"
        if path.is_dir():
            try:
                return path.relative_to(Path.cwd())
            except ValueError:
                return path
    raise InputError("bundles/metal-demo is not here; run this in a clone of the repository, or give --bundle")


def _picture(images: Path) -> str:
    crops = sorted(images.glob("*-[0-9][0-9].jpg"))
    return str(crops[0] if crops else images)
