"""Read a bundle, and trust it only as a whole.

Every byte is read once, checked against SHA256SUMS (and its signature), and only then used: what was verified is what runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from jetspect.errors import BundleError, BundleIntegrityError, BundleVersionError, SignatureError
from jetspect.runtime.manifest import SCHEMA_VERSION, Manifest, Precision
from jetspect.runtime.onnx_scan import OnnxInfo, scan_onnx
from jetspect.runtime.signing import SIGNATURE_BYTES, check_signature

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MAX_FILES = 64
_MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True, eq=False)
class GoldenTiles:
    """Inputs and FP32 answers: tiles uint8 N x T x T x C, scores uint8 N x K x T x T."""

    tiles: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.uint8]


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
        files = _read(path)
        _check_sums(path, files)
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
        """Return the verified bytes of the graph of one precision."""
        return self._files[self.manifest.graphs[precision].file]

    def golden(self) -> GoldenTiles:
        """Return the golden tiles.

        Raises
        ------
        BundleError
            Their shapes contradict the manifest.
        """
        golden = self.manifest.golden
        try:
            with np.load(io.BytesIO(self._files[golden.file]), allow_pickle=False) as arrays:
                tiles, scores = arrays["tiles"], arrays["scores"]
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise BundleError(f"{self.path}: {golden.file} holds no golden tiles ({error}); export again") from error
        edge, classes = golden.tile_px, len(self.manifest.output.classes)
        expected = (golden.tiles, edge, edge, self.manifest.input.channels), (golden.tiles, classes, edge, edge)
        if (tiles.shape, scores.shape) != expected or tiles.dtype != np.uint8 or scores.dtype != np.uint8:
            raise BundleError(
                f"{self.path}: golden tiles are {tiles.dtype} {tiles.shape} and {scores.dtype} {scores.shape}, "
                f"the manifest says uint8 {expected[0]} and {expected[1]}; export again"
            )
        return GoldenTiles(tiles, scores)


def _read(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise BundleError(f"{path} does not exist; give a bundle folder or a .zip of one")
    return _read_zip(path)


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        for entry in sorted(path.iterdir()):
            mode = entry.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise BundleIntegrityError(
                    f"{path}: {entry.name} is a link and could leave the bundle; copy the file in"
                )
            if not stat.S_ISREG(mode):
                raise BundleIntegrityError(f"{path}: {entry.name} is not a plain file; a bundle holds plain files only")
            _admit(path, files, entry.name, entry.lstat().st_size)
            files[entry.name] = entry.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    return files


def _read_zip(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _admit(path, files, info.filename, info.file_size)
                with archive.open(info) as stream:
                    data = stream.read(info.file_size + 1)
                if len(data) != info.file_size:
                    raise BundleIntegrityError(
                        f"{path}: {info.filename} is larger than the archive says; copy it again"
                    )
                files[info.filename] = data
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{path} is not a readable .zip of a bundle ({error}); copy it again") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    return files


def _admit(path: Path, files: Mapping[str, bytes], name: str, size: int) -> None:
    """Refuse a file before it is read: by name (it could leave the bundle), count and size."""
    if not _NAME.fullmatch(name):
        raise BundleIntegrityError(
            f"{path}: the name {name!r} could leave the bundle; names are letters, digits, '.', '_' and '-', no folders"
        )
    if name.casefold() in {known.casefold() for known in files}:
        raise BundleIntegrityError(f"{path}: {name} is there twice (upper and lower case count as the same)")
    if len(files) >= _MAX_FILES or sum(map(len, files.values())) + size > _MAX_BYTES:
        raise BundleIntegrityError(f"{path} has more than {_MAX_FILES} files or {_MAX_BYTES // 1024**2} MiB: no bundle")


def _check_sums(path: Path, files: Mapping[str, bytes]) -> None:
    if SUMS not in files or MANIFEST not in files:
        lacking = SUMS if SUMS not in files else MANIFEST
        raise BundleError(f"{path} is no bundle: it has no {lacking}")
    listed: dict[str, str] = {}
    for number, line in enumerate(files[SUMS].decode("utf-8", "replace").splitlines(), 1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise BundleIntegrityError(f"{path}: line {number} of {SUMS} is not '<sha256>  <name>'")
        if not _NAME.fullmatch(match[2]) or match[2] in (SUMS, SIGNATURE):
            raise BundleIntegrityError(f"{path}: {SUMS} names {match[2]!r}, which is not a file of the bundle")
        if match[2] in listed:
            raise BundleIntegrityError(f"{path}: {SUMS} names {match[2]} twice")
        listed[match[2]] = match[1]
    present = set(files) - {SUMS, SIGNATURE}
    if missing := sorted(set(listed) - present):
        raise BundleIntegrityError(f"{path}: {', '.join(missing)} is missing; copy the bundle again")
    if extra := sorted(present - set(listed)):
        raise BundleIntegrityError(f"{path}: {', '.join(extra)} does not belong to the bundle ({SUMS}); remove it")
    for name, digest in listed.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise BundleIntegrityError(f"{path}: {name} changed since the bundle was written; copy the bundle again")


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
    if manifest.golden.file not in files:
        raise BundleError(f"{path}: the manifest names {manifest.golden.file}, which is not in the bundle")
    for precision, spec in manifest.graphs.items():
        if spec.file not in files:
            raise BundleError(f"{path}: the manifest names {spec.file} ({precision}), which is not in the bundle")
        if hashlib.sha256(files[spec.file]).hexdigest() != spec.sha256:
            raise BundleIntegrityError(f"{path}: {spec.file} is not the {precision} graph that the manifest names")
        try:
            info = scan_onnx(files[spec.file])
        except BundleError as error:
            raise BundleError(f"{path}: {spec.file} {error}; export again") from error
        _check_signature_of_graph(f"{path}: {spec.file}", info, manifest)


def _check_signature_of_graph(where: str, info: OnnxInfo, manifest: Manifest) -> None:
    if info.external:
        raise BundleIntegrityError(f"{where} keeps data of {info.external[0]} in another file; export it as one file")
    channels, classes = manifest.input.channels, len(manifest.output.classes)
    for values, kind, axis, size in ((info.inputs, "takes", 3, channels), (info.outputs, "returns", 1, classes)):
        got = ", ".join(map(str, values)) or "nothing"
        value = values[0] if len(values) == 1 else None
        if value is None or value.dtype != "uint8" or len(value.shape) != 4 or value.shape[axis] != size:
            layout = f"tiles N x T x T x {channels}" if kind == "takes" else f"scores N x {classes} x T x T"
            raise BundleError(f"{where} {kind} {got}; the manifest says uint8 {layout}: export again")
