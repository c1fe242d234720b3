"""``jetspect build``: TensorRT engines, on the device that they run on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import require_graph
from jetspect.runtime.engines.device import BuildReport, build_engine
from jetspect.runtime.engines.options import DEFAULT_OPT_LEVEL, MAX_OPT_LEVEL, DeviceOptions

if TYPE_CHECKING:
    from rich.progress import TaskID


def build(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    precision: Annotated[str, typer.Option(help="Graph to build: int8, int8-trt8 (TensorRT 8.6), fp16 or fp32.")],
    tile: Annotated[int | None, typer.Option(min=1, help="Tile edge in px; the bundle's own by default.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Tiles per run.")] = 1,
    engine_dir: Annotated[
        Path | None, typer.Option(help="Where engines are kept; $JETSPECT_ENGINE_DIR or the user's cache by default.")
    ] = None,
    opt_level: Annotated[
        int, typer.Option(min=0, max=MAX_OPT_LEVEL, help="How long to search for fast kernels.")
    ] = DEFAULT_OPT_LEVEL,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build even where there is an engine.")] = False,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="ed25519 public key (PEM) the bundle must be signed with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a bundle's TensorRT engine on this device, prove it on the golden tiles and keep it for the stations.

    Example: jetspect build bundles/bsd-pitting --precision int8 --tile 512 --batch 4
    """
    opened = Bundle.open(bundle, public_key=public_key)
    chosen = as_precision(precision)
    require_graph(opened, chosen)
    options = DeviceOptions(tile_px=tile, batch=batch, folder=engine_dir, opt_level=opt_level)
    with progress() as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(escape(what), total=total)
            bar.update(tasks[what], completed=done)

        report = build_engine(opened, chosen, options, rebuild=rebuild, show=show)
    if as_json:
        print_json(_answer(report))
    else:
        _tell(opened, report)


def _answer(report: BuildReport) -> dict[str, Any]:
    golden = report.golden
    return {
        "engine": str(report.path),
        "built_now": report.fresh,
        "golden": {"tiles": golden.tiles, "max_levels": golden.max_levels, "mean_levels": golden.mean_levels},
        **report.sidecar.model_dump(mode="json"),
    }


def _tell(bundle: Bundle, report: BuildReport) -> None:
    sidecar, key = report.sidecar, report.sidecar.key
    batch, height, width, _ = key.shape_nhwc
    what = (
        f"built in {sidecar.build_s:.0f} s"
        if report.fresh
        else f"already there, built {sidecar.created:%Y-%m-%d %H:%M} UTC"
    )
    console.print(f"[bold green]{what}[/bold green]  {escape(str(report.path))}  {sidecar.engine_bytes / 1e6:.1f} MB")
    console.print(f"{escape(sidecar.bundle)} {key.precision}, {batch} x {width} x {height} px", highlight=False)
    flags = "" if key.typing == "strong" else f", {' + '.join(key.flags) or 'no precision flags'}"
    major, minor = key.compute_capability
    console.print(f"TensorRT {key.tensorrt} ({key.typing} typing{flags}) on {escape(key.gpu)}, sm_{major}{minor}")
    for number, step in enumerate(sidecar.steps, 1):
        if len(sidecar.steps) > 1:
            console.print(f"try {number}: {step}" + ("" if step.failed else ": built"), markup=False)
    layers = "precisions of layers are not known" if sidecar.layers is None else str(sidecar.layers)
    console.print(layers, markup=False)
    console.print(f"{report.golden}", markup=False)
    if bundle.manifest.foreground is not None:
        console.print("stage one needs no engine: it runs on the processor, on ONNX Runtime")
