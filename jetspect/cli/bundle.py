"""``jetspect bundle``: look at, verify and sign bundles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import BundleError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import GraphSpec
from jetspect.runtime.signing import make_keys, sign_bundle

app = typer.Typer(help="Look at, verify and sign bundles.", no_args_is_help=True)
BundleArgument = Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)]
SHOWN = ("iou", "iou_mean", "image_recall", "image_ap", "image_fp", "image_fn", "defects_kept", "inspected")
KeyOption = Annotated[Path | None, typer.Option("--public-key", help="ed25519 public key (PEM) it must be signed with.")]


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
    console.print(f"model {escape(m.provenance.model)}\ndata  {escape(m.provenance.data)}\nsha256 of the manifest {opened.manifest_sha256}")


@app.command(epilog="Example: jetspect bundle verify bundles/metal-demo")
def verify(bundle: BundleArgument, public_key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Check every file against its hash, and the signature against a key. Exit code 1 when it cannot be trusted."""
    try:
        opened = Bundle.open(bundle, public_key=public_key)
        opened.golden()
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
    folder: Annotated[Path, typer.Option(help="Where the two files go.")] = Path("."),
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
