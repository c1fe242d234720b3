"""The model card that travels in every bundle."""

from __future__ import annotations

from jetspect.runtime.manifest import Manifest


def model_card(manifest: Manifest, notes: str = "") -> str:
    """Describe a bundle in Markdown: what it finds, where it comes from, how good it is, how it was made."""
    source, tiling = manifest.provenance, manifest.tiling
    lines = [f"# {manifest.name} {manifest.version}", "", manifest.description, ""]
    if notes:
        lines += [notes.strip(), ""]
    lines += ["| class | threshold | low threshold | smallest area |", "|---|---|---|---|"]
    lines += [
        f"| {c.name} | {c.threshold:.3f} | {c.threshold_low:.3f} | {c.min_area_px} px |"
        for c in manifest.output.classes
    ]
    if accuracy := manifest.graphs["fp32"].accuracy:
        lines += ["", "| validation (fp32) | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in accuracy.items()]
    lines += ["", "| graph | largest difference of probability to PyTorch | IoU of the masks |", "|---|---|---|"]
    lines += [f"| {name} | {g.parity.max_abs:.2g} | {g.parity.mask_iou:.4f} |" for name, g in manifest.graphs.items()]
    exact = f"exact with a halo of {tiling.halo_px} px (measured error {tiling.halo_error:.1e})"
    lines += [
        "",
        f"- Model: {source.model}",
        f"- Data: {source.data or 'not stated'}",
        f"- Tiling: {exact if tiling.mode == 'exact' else 'blended with Hann weights; no halo makes it exact'}, "
        f"stride {tiling.stride_px} px, tiles of {tiling.tile_px} px",
        f"- Checkpoint sha256: {source.checkpoint_sha256 or 'none'}",
        f"- Made by: `{source.command or 'not stated'}`",
        f"- With: {', '.join(f'{k} {v}' for k, v in source.tools.items())}",
        "",
    ]
    return "\n".join(lines)
