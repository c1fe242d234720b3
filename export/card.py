"""The model card that travels in every bundle."""

from __future__ import annotations

from collections.abc import Mapping

from jetspect.runtime.manifest import Manifest, TilingContract


def model_card(manifest: Manifest, notes: str = "", left_out: Mapping[str, str] | None = None) -> str:
    """Describe a bundle in Markdown: what it finds, where it comes from, how good it is, how it was made.

    ``left_out`` says why a precision has no graph.
    """
    source, tiling = manifest.provenance, manifest.tiling
    lines = [f"# {manifest.name} {manifest.version}", "", manifest.description, ""]
    if notes:
        lines += [notes.strip(), ""]
    lines += ["| class | threshold | low threshold | smallest area |", "|---|---|---|---|"]
    lines += [
        f"| {c.name} | {c.threshold:.3f} | {c.threshold_low:.3f} | {c.min_area_px} px |"
        for c in manifest.output.classes
    ]
    if (decision := manifest.output.decision) is not None:
        lines += [
            "",
            f"The image as a whole decides: a part is NOK at or above {decision.threshold:.3f}, whatever is located.",
        ]
    if accuracy := manifest.graphs["fp32"].accuracy:
        lines += ["", "| validation (fp32) | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in accuracy.items()]
    lines += ["", "| graph | largest difference of probability to PyTorch | IoU of the masks |", "|---|---|---|"]
    lines += [f"| {name} | {g.parity.max_abs:.2g} | {g.parity.mask_iou:.4f} |" for name, g in manifest.graphs.items()]
    if (first := manifest.foreground) is not None:
        lines += [
            f"| stage one, {n} | {g.parity.max_abs:.2g} | {g.parity.mask_iou:.4f} |" for n, g in first.graphs.items()
        ]
    lines += [
        f"\n{name}: its decision differs from PyTorch's by at most {g.parity.decision_max_abs:.2g}"
        for name, g in manifest.graphs.items()
        if g.parity.decision_max_abs is not None
    ]
    lines += [f"\nNo {name} graph: {why}" for name, why in (left_out or {}).items()]
    lines += [
        "",
        f"- Model: {source.model}",
        f"- Data: {source.data or 'not stated'}",
        f"- Tiling: {_tiling(tiling)}",
        *_stage_one(manifest),
        f"- Checkpoint sha256: {source.checkpoint_sha256 or 'none'}",
        f"- Made by: `{source.command or 'not stated'}`",
        f"- With: {', '.join(f'{k} {v}' for k, v in source.tools.items())}",
        "",
    ]
    return "\n".join(lines)


def _stage_one(manifest: Manifest) -> list[str]:
    first = manifest.foreground
    if first is None:
        return []
    told = ", ".join(f"{name} {value:.4g}" for name, value in first.graphs["fp32"].accuracy.items())
    return [
        f"- Stage one: {first.provenance.model}, sees the frame shrunk {first.scale} times, takes pixels at or above "
        f"{first.threshold:.3f} as part and grows them by {first.margin_px} px; stage two looks nowhere else",
        f"- Stage one on validation images: {told or 'not measured'}",
        f"- Stage one's data: {first.provenance.data or 'not stated'}",
        f"- Stage one's checkpoint sha256: {first.provenance.checkpoint_sha256 or 'none'}",
    ]


def _tiling(tiling: TilingContract) -> str:
    if tiling.frame_wh is not None:
        width, height = tiling.frame_wh
        return (
            f"none; the whole frame is resized to {width} x {height} px and seen at once, stride {tiling.stride_px} px"
        )
    exact = f"exact with a halo of {tiling.halo_px} px (measured error {tiling.halo_error:.1e})"
    how = exact if tiling.mode == "exact" else "blended with Hann weights; no halo makes it exact"
    return f"{how}, stride {tiling.stride_px} px, tiles of {tiling.tile_px} px"
