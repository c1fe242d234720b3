"""Read a bundle, and trust it only as a whole.

Every byte is read once, checked against SHA256SUMS (and its signature), and only then used: what was verified is what runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from jetspect.errors import BundleError, BundleIntegrityError, BundleVersionError, SignatureError
from jetspect.runtime.bundle_files import MANIFEST, SIGNATURE, SUMS, check_sums, read_files
from jetspect.runtime.manifest import (
    SCHEMA_VERSION,
    DecisionSpec,
    ForegroundSpec,
    GoldenSpec,
    GraphSpec,
    Manifest,
    Precision,
)
from jetspect.runtime.onnx_scan import OnnxInfo, scan_onnx
from jetspect.runtime.signing import SIGNATURE_BYTES, check_signature

__all__ = ["MANIFEST", "SIGNATURE", "SUMS", "Bundle", "GoldenTiles"]
# A few tiles; more is there to fill the memory.
_MAX_GOLDEN_BYTES = 512 * 1024**2


@dataclass(frozen=True, eq=False)
class GoldenTiles:
    """Inputs and FP32 answers: tiles uint8 N x T x T x C, scores uint8 N x K x T x T, decisions uint8 N x 1 or None."""

    tiles: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.uint8]
    decisions: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class _Stage:
    """What the manifest promises of a stage's graphs."""

    channels: int
    classes: int
    frame_wh: tuple[int, int] | None = None
    decision: DecisionSpec | None = None


class Bundle:
    """A verified bundle in memory. Make one with :meth:`open`."""

    def __init__(self, path: Path, files: Mapping[str, bytes], manifest: Manifest, *, signature: str) -> None:
        self.path = path
        self.manifest = manifest
        self.manifest_sha256 = hashlib.sha256(files[MANIFEST]).hexdigest()
        self.signature = signature
        self._files = files

    @classmethod
    def open(cls, path: Path, *, public_key: Path | None = None) -> Bundle:
        """Read and verify a bundle, a folder or a ``.zip`` of one.

        Parameters
        ----------
        public_key
            ed25519 public key (PEM). With it the bundle must carry a signature by that key.

        Raises
        ------
        BundleIntegrityError
            A file changed, is missing, is extra or leaves the bundle.
        SignatureError
            The signature is missing, malformed or by another key.
        BundleVersionError
            A newer jetspect wrote it.
        BundleError
            It is no bundle, or its contents contradict each other.
        """
        files = read_files(path)
        check_sums(path, files)
        signature = _check_signature(path, files, public_key)
        manifest = _parse_manifest(path, files[MANIFEST])
        _check_graphs(path, files, manifest)
        return cls(path, files, manifest, signature=signature)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes per file."""
        return {name: len(data) for name, data in sorted(self._files.items())}

    def file(self, name: str) -> bytes:
        """Return the verified bytes of one file."""
        return self._files[name]

    def graph(self, precision: Precision) -> bytes:
        """Return the verified bytes of the graph of one precision.

        Raises
        ------
        BundleError
            The bundle has no such graph.
        """
        graphs = self.manifest.graphs
        if precision not in graphs:
            raise BundleError(f"{self.path} has no {precision} graph, it has {', '.join(graphs)}; choose one of these")
        return self._files[graphs[precision].file]

    def foreground_graph(self, precision: Precision) -> bytes:
        """Return the verified bytes of stage one's graph; BundleError where there is no stage one or no such graph."""
        spec = self._foreground()
        if precision not in spec.graphs:
            raise BundleError(f"{self.path} has no {precision} graph of stage one, it has {', '.join(spec.graphs)}")
        return self._files[spec.graphs[precision].file]

    def golden(self, precision: Precision = "fp32") -> GoldenTiles:
        """Return the golden tiles, with the answers that an engine for this precision must reproduce.

        Raises
        ------
        BundleError
            They cannot be read, or their shapes contradict the manifest.
        """
        manifest = self.manifest
        scores = manifest.graphs[precision].golden_scores
        golden = self._golden(manifest.golden, manifest.input.channels, len(manifest.output.classes), scores=scores)
        if manifest.output.decision is None:
            return golden
        decisions = self._array(manifest.golden.file, "decisions", (manifest.golden.tiles, 1))
        return replace(golden, decisions=decisions)

    def foreground_golden(self) -> GoldenTiles:
        """Return the golden tiles of stage one, pieces of shrunken frames; errors as :meth:`golden`."""
        spec = self._foreground()
        return self._golden(spec.golden, spec.input.channels, 1, "foreground_")

    def _foreground(self) -> ForegroundSpec:
        if self.manifest.foreground is None:
            raise BundleError(f"{self.path} has one stage only: its manifest has no foreground")
        return self.manifest.foreground

    def _golden(
        self, golden: GoldenSpec, channels: int, classes: int, prefix: str = "", scores: str = "scores"
    ) -> GoldenTiles:
        height, width = golden.tile_hw
        if golden.tiles * height * width * (channels + classes) > _MAX_GOLDEN_BYTES:
            raise BundleError(
                f"{self.path}: golden tiles of more than {_MAX_GOLDEN_BYTES // 1024**2} MiB; export again"
            )
        tiles = self._array(golden.file, f"{prefix}tiles", (golden.tiles, height, width, channels))
        answers = self._array(golden.file, f"{prefix}{scores}", (golden.tiles, classes, height, width))
        return GoldenTiles(tiles, answers)

    def _array(self, file: str, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Read one array of golden.npz; its header is judged before its data is unpacked."""
        where = f"{self.path}: {file}"
        try:
            with zipfile.ZipFile(io.BytesIO(self._files[file])) as archive, archive.open(f"{name}.npy") as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                got, fortran, dtype = read(stream)
                if got != shape or fortran or dtype != np.uint8:
                    raise BundleError(
                        f"{where}: {name} are {dtype} {got}, the manifest says uint8 {shape}; export again"
                    )
                data = stream.read(math.prod(shape))
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, tokenize.TokenError) as error:
            raise BundleError(f"{where} holds no {name} ({error}); export again") from error
        if len(data) != math.prod(shape):
            raise BundleError(f"{where}: {name} are cut short; export again")
        return np.frombuffer(data, np.uint8).reshape(shape)


def _check_signature(path: Path, files: Mapping[str, bytes], public_key: Path | None) -> str:
    signature = files.get(SIGNATURE)
    if signature is not None and len(signature) != SIGNATURE_BYTES:
        raise SignatureError(
            f"{path}: {SIGNATURE} has {len(signature)} bytes, an ed25519 signature has {SIGNATURE_BYTES}"
        )
    if public_key is None:
        return "unsigned" if signature is None else "signed, not checked (no public key given)"
    if signature is None:
        raise SignatureError(f"{path} is not signed, but a public key was given; sign it with: jetspect bundle sign")
    check_signature(files[SUMS], signature, public_key, what=str(path))
    return f"signed, checked with {public_key}"


def _parse_manifest(path: Path, data: bytes) -> Manifest:
    try:
        raw = json.loads(data)
        version = raw["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BundleError(f"{path}: {MANIFEST} is not a manifest ({type(error).__name__}: {error})") from error
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleVersionError(
            f"{path} has manifest schema {version}, this jetspect reads up to {SCHEMA_VERSION}: update jetspect"
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise BundleError(f"{path}: {MANIFEST} is not valid: {faults}") from error


def _check_graphs(path: Path, files: Mapping[str, bytes], manifest: Manifest) -> None:
    output, frame_wh = manifest.output, manifest.tiling.frame_wh
    whole = _Stage(manifest.input.channels, len(output.classes), frame_wh, output.decision)
    stages = [("", manifest.graphs, manifest.golden, whole)]
    if (first := manifest.foreground) is not None:
        stages.append(("foreground ", first.graphs, first.golden, _Stage(first.input.channels, 1)))
    for name, graphs, golden, stage in stages:
        if golden.file not in files:
            raise BundleError(f"{path}: the manifest names {golden.file}, which is not in the bundle")
        for precision, spec in graphs.items():
            _check_graph(path, files, spec, f"{name}{precision}", stage)


def _check_graph(path: Path, files: Mapping[str, bytes], spec: GraphSpec, what: str, stage: _Stage) -> None:
    if spec.file not in files:
        raise BundleError(f"{path}: the manifest names {spec.file} ({what}), which is not in the bundle")
    if hashlib.sha256(files[spec.file]).hexdigest() != spec.sha256:
        raise BundleIntegrityError(f"{path}: {spec.file} is not the {what} graph that the manifest names")
    try:
        info = scan_onnx(files[spec.file])
    except BundleError as error:
        raise BundleError(f"{path}: {spec.file} {error}; export again") from error
    where = f"{path}: {spec.file}"
    if info.external:
        raise BundleIntegrityError(f"{where} keeps data of {info.external[0]} in another file; export it as one file")
    if info.foreign:
        raise BundleError(f"{where} uses {info.foreign[0]}; graphs use standard ONNX operators only: export it again")
    if stage.decision is not None:
        _check_decision_of_graph(where, info, stage.decision)
        info = replace(info, outputs=info.outputs[:1])
    _check_signature_of_graph(where, info, stage)


def _check_signature_of_graph(where: str, info: OnnxInfo, stage: _Stage) -> None:
    channels, classes, frame_wh = stage.channels, stage.classes, stage.frame_wh
    for values, kind, axis, size in ((info.inputs, "takes", 3, channels), (info.outputs, "returns", 1, classes)):
        got = ", ".join(map(str, values)) or "nothing"
        value = values[0] if len(values) == 1 else None
        if value is None or value.dtype != "uint8" or len(value.shape) != 4 or value.shape[axis] != size:
            layout = f"tiles N x T x T x {channels}" if kind == "takes" else f"scores N x {classes} x T x T"
            raise BundleError(f"{where} {kind} {got}; the manifest says uint8 {layout}: export again")
        height_at = 1 if kind == "takes" else 2
        if frame_wh is not None and value.shape[height_at : height_at + 2] != (frame_wh[1], frame_wh[0]):
            raise BundleError(
                f"{where} {kind} {got}; the manifest says frames of {frame_wh[0]} x {frame_wh[1]} px: export again"
            )


def _check_decision_of_graph(where: str, info: OnnxInfo, spec: DecisionSpec) -> None:
    second = info.outputs[1] if len(info.outputs) == 2 else None
    if second is None or (second.name, second.dtype, second.shape[1:]) != (spec.name, "uint8", (1,)):
        got = ", ".join(map(str, info.outputs)) or "nothing"
        raise BundleError(f"{where} returns {got}; the manifest says scores and {spec.name}: uint8 N x 1: export again")
