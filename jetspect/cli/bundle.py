"""``jetspect bundle``: look at, lint, verify and sign bundles."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import BundleError, InputError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import GraphSpec
from jetspect.runtime.signing import make_keys, sign_bundle

if TYPE_CHECKING:
    from jetspect.calibration.lint import Finding

app = typer.Typer(help="Look at, lint, verify and sign bundles.", no_args_is_help=True)
BundleArgument = Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)]
SHOWN = ("iou", "iou_mean", "image_recall", "image_ap", "image_fp", "image_fn", "defects_kept", "inspected")
SEVERITY_STYLE = {"error": "bold red", "warning": "bold yellow", "note": "dim"}
NODES_SHOWN = 3
KeyOption = Annotated[
    Path | None, typer.Option("--public-key", help="ed25519 public key (PEM) it must be signed with.")
]


@app.command(epilog="Example: jetspect bundle show bundles/metal-demo")
def show(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show what a bundle finds, where it comes from and how good it is. Verifies it first."""
    opened = Bundle.open(bundle)
    m = opened.manifest
    if as_json:
        manifest = m.model_dump(mode="json")
        print_json({"manifest": manifest, "manifest_sha256": opened.manifest_sha256, "signature": opened.signature})
        return
    console.print(f"[bold]{m.name} {m.version}[/bold]  {m.created:%Y-%m-%d}  {opened.signature}")
    if m.description:
        console.print(escape(m.description))
    tiling = f"exact, halo {m.tiling.halo_px} px" if m.tiling.mode == "exact" else "blended (Hann)"
    frame = m.tiling.frame_wh
    seen = f"tiles of {m.tiling.tile_px} px" if frame is None else f"whole frames resized to {frame[0]} x {frame[1]} px"
    cut = tiling if frame is None else "never tiled"
    console.print(f"input uint8 {m.input.colour_order}, {seen}, stride {m.tiling.stride_px} px, {cut}")
    if m.output.decision is not None:
        console.print(
            f"decides on the image as a whole: NOK at or above {m.output.decision.threshold:.3f}; defects only show where"
        )
    if (first := m.foreground) is not None:
        console.print(
            f"stage one finds the part on the frame shrunk {first.scale} times, at {first.threshold:.3f} and above, grown by "
            f"{first.margin_px} px; a frame with less than {100 * first.min_foreground:.2g} % of it is UNKNOWN"
        )
    table = Table("class", "threshold", "low threshold", "smallest area", title_justify="left")
    for c in m.output.classes:
        table.add_row(c.name, f"{c.threshold:.3f}", f"{c.threshold_low:.3f}", f"{c.min_area_px} px")
    console.print(table)
    table = Table("graph", "size", "differs from PyTorch by", "mask IoU", "accuracy")
    graphs: list[tuple[str, GraphSpec]] = list(m.graphs.items())
    graphs += [(f"stage one {name}", g) for name, g in (m.foreground.graphs if m.foreground else {}).items()]
    for name, g in graphs:
        accuracy = ", ".join(f"{k} {v:.3f}" for k, v in g.accuracy.items() if k in SHOWN)
        size = f"{opened.sizes[g.file] / 1e6:.1f} MB"
        table.add_row(name, size, f"{g.parity.max_abs:.1e}", f"{g.parity.mask_iou:.4f}", accuracy)
    console.print(table)
    if m.foreground is not None:
        console.print(f"stage one {escape(m.foreground.provenance.model)}, {escape(m.foreground.provenance.data)}")
    console.print(
        f"model {escape(m.provenance.model)}\ndata  {escape(m.provenance.data)}\n"
        f"sha256 of the manifest {opened.manifest_sha256}"
    )


@app.command(epilog="Example: jetspect bundle verify bundles/metal-demo")
def verify(bundle: BundleArgument, public_key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Check every file against its hash, and the signature against a key. Exit code 1 when it cannot be trusted."""
    try:
        opened = Bundle.open(bundle, public_key=public_key)
        for precision in opened.manifest.graphs:
            opened.golden(precision)
        if opened.manifest.foreground is not None:
            opened.foreground_golden()
    except BundleError as error:
        if as_json:
            print_json({"verified": False, "reason": str(error), "kind": type(error).__name__})
        else:
            console.print(f"[bold red]not verified[/bold red]  {escape(str(error))}")
        sys.exit(1)
    unsigned = opened.signature == "unsigned"
    trust = "unsigned, so whoever changed a file could have changed its hash" if unsigned else opened.signature
    if as_json:
        print_json({"verified": True, "files": opened.sizes, "signature": opened.signature})
    else:
        console.print(f"[bold green]verified[/bold green]  {len(opened.sizes)} files fit their hashes; {escape(trust)}")


@app.command(epilog="Example: jetspect bundle keygen --folder keys --name plant")
def keygen(
    folder: Annotated[Path, typer.Option(help="Where the two files go.")] = Path(),
    name: Annotated[str, typer.Option(help="Their name.")] = "jetspect",
    as_json: JsonOption = False,
) -> None:
    """Make a key pair for signing: NAME.key (keep it secret) and NAME.pub (goes to the devices)."""
    private, public = make_keys(folder, name)
    if as_json:
        print_json({"private_key": str(private), "public_key": str(public)})
    else:
        console.print(f"private key {private} (mode 0600, keep it off the devices)\npublic key  {public}")


@app.command(epilog="Example: jetspect bundle sign bundles/metal-demo --key keys/plant.key")
def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option("--key", help="ed25519 private key (PEM).")],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle folder; an old signature is replaced."""
    signature = sign_bundle(bundle, key)
    if as_json:
        print_json({"signature": str(signature)})
    else:
        console.print(f"signed: {signature}")


@app.command(epilog="Example: jetspect bundle lint bundles/metal-demo --precision int8 --target 10.3")
def lint(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip, or one .onnx file.", show_default=False)],
    precision: Annotated[str | None, typer.Option(help="Look at this graph only; at all of them by default.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="TensorRT 8.6, 10.3, 10.13 or 11, repeatable; by default those that the graph is made for."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a graph would not be faster in INT8, or would not build on TensorRT. Exit code 1 on an error."""
    try:
        from jetspect.calibration.lint import MEANT_FOR, TARGETS
        from jetspect.calibration.lint import lint as find
    except ImportError as error:
        raise MissingDependencyError(error.name or "onnx", "linting", "pip install 'jetspect[export]'") from error

    answers = []
    counts: Counter[str] = Counter()
    for label, kind, graph in _graphs_to_lint(bundle, precision):
        targets = tuple(target or MEANT_FOR.get(kind, TARGETS))
        findings = find(graph, targets=targets, precision=kind)
        counts.update(f.severity for f in findings)
        listed = [dataclasses.asdict(f) for f in findings]
        answers.append({"graph": label, "precision": kind, "targets": targets, "findings": listed})
        if not as_json:
            _tell_findings(label, targets, findings)
    if as_json:
        print_json({"bundle": str(bundle), "counts": {s: counts[s] for s in SEVERITY_STYLE}, "graphs": answers})
    else:
        console.print(", ".join(f"{counts[s]} {s}{'' if counts[s] == 1 else 's'}" for s in SEVERITY_STYLE))
    sys.exit(1 if counts["error"] else 0)


def _graphs_to_lint(path: Path, precision: str | None) -> list[tuple[str, str, bytes]]:
    """Return label, precision and bytes of the graphs; a file of its own has no precision unless one is given."""
    wanted = None if precision is None else as_precision(precision)
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        try:
            return [(path.name, wanted or "", path.read_bytes())]
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    opened = Bundle.open(path)
    chosen = [wanted] if wanted is not None else list(opened.manifest.graphs)
    found: list[tuple[str, str, bytes]] = [(p, p, opened.graph(p)) for p in chosen]
    if opened.manifest.foreground is not None:
        # Stage one stays in floating point beside INT8, whatever its place is called.
        found += [(f"stage one {p}", "", opened.foreground_graph(p)) for p in chosen]
    return found


def _tell_findings(label: str, targets: Sequence[str], findings: Sequence[Finding]) -> None:
    """Print one row for each rule; nodes with the same finding share it."""
    versions = ", ".join(targets)
    if not findings:
        console.print(f"[bold]{escape(label)}[/bold]  nothing against TensorRT {escape(versions)}")
        return
    console.print(f"[bold]{escape(label)}[/bold]  TensorRT {escape(versions)}")
    rows: dict[tuple[str, str, tuple[str, ...]], list[Finding]] = {}
    for finding in findings:
        rows.setdefault((finding.severity, finding.rule, finding.targets), []).append(finding)
    table = Table(show_lines=True)
    table.add_column("finding", ratio=2, overflow="fold")
    table.add_column("TensorRT", max_width=11)
    table.add_column("why, and what to do", ratio=3, overflow="fold")
    for (severity, rule, about), same in rows.items():
        nodes = [escape(f.node) for f in same[:NODES_SHOWN]]
        if len(same) > NODES_SHOWN:
            nodes.append(f"+ {len(same) - NODES_SHOWN} more")
        style = SEVERITY_STYLE[severity]
        head = f"[{style}]{severity}[/] {escape(rule)}"
        table.add_row("\n".join([head, *nodes]), ", ".join(about), f"{escape(same[0].why)}\n→ {escape(same[0].fix)}")
    # The console lets lines run on for machines; a table has to fit.
    console.print(table, soft_wrap=False)
