"""What a bundle says must be true of what it holds."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from jetspect.errors import BundleError, BundleIntegrityError, BundleVersionError
from jetspect.runtime.bundle import MANIFEST, SUMS, Bundle


@pytest.fixture
def folder(metal_demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(metal_demo, tmp_path / "bundle"))


def seal(folder: Path) -> Path:
    """Write SHA256SUMS anew, as someone would who changes a bundle on purpose."""
    files = sorted(p for p in folder.iterdir() if p.name != SUMS)
    (folder / SUMS).write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files))
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))
    return seal(folder)


def put_graph(folder: Path, data: bytes) -> Path:
    (folder / "model.fp32.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return edit_manifest(folder, lambda m: m["graphs"]["fp32"].update(sha256=digest))


def edit_graph(folder: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(folder / "model.fp32.onnx")
    change(model)
    return put_graph(folder, model.SerializeToString())


def put_golden(folder: Path, **arrays: np.ndarray[Any, Any]) -> Bundle:
    np.savez_compressed(folder / "golden.npz", allow_pickle=True, **arrays)
    return Bundle.open(seal(folder))


def test_a_bundle_opens_with_what_it_holds(metal_demo: Path) -> None:
    bundle = Bundle.open(metal_demo)
    manifest, golden = bundle.manifest, bundle.golden()
    assert bundle.manifest_sha256 == hashlib.sha256((metal_demo / MANIFEST).read_bytes()).hexdigest()
    assert bundle.graph("fp32") == (metal_demo / "model.fp32.onnx").read_bytes()
    edge = manifest.golden.tile_px
    assert golden.tiles.shape == (manifest.golden.tiles, edge, edge, manifest.input.channels)
    assert golden.scores.shape == (manifest.golden.tiles, len(manifest.output.classes), edge, edge)
    assert bundle.signature == "unsigned"
    with pytest.raises(BundleError, match="has no int8 graph, it has fp32, fp16"):
        bundle.graph("int8")


def test_a_bundle_opens_without_any_machine_learning_package(metal_demo: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'cryptography', 'cv2'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from jetspect.runtime.bundle import Bundle\n"
        "print(len(Bundle.open(Path(sys.argv[1])).golden().tiles))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, metal_demo], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 0


def test_what_was_verified_is_what_is_used_though_the_disk_changes(folder: Path) -> None:
    bundle = Bundle.open(folder)
    graph = bundle.graph("fp32")
    (folder / "model.fp32.onnx").write_bytes(b"other")
    (folder / "golden.npz").unlink()
    assert bundle.graph("fp32") == graph
    assert len(bundle.golden().tiles)


def test_a_newer_schema_asks_for_a_newer_jetspect(folder: Path) -> None:
    """Said even where the rest of the manifest means nothing to this version."""
    (folder / MANIFEST).write_text('{"schema_version": 7, "engines": []}')
    with pytest.raises(BundleVersionError, match="schema 7, this jetspect reads up to 1: update jetspect"):
        Bundle.open(seal(folder))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"name": "x"}', "[" * 100_000, "\x00"],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json is not a manifest"):
        Bundle.open(seal(folder))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(schema_version=0), "schema_version"),
        (lambda m: m.update(nickname="x"), "nickname: Extra inputs are not permitted"),
        (lambda m: m["tiling"].update(halo_px=10**6), "leaves no core inside two halos"),
        (lambda m: m["graphs"].pop("fp32"), "graphs needs fp32"),
        (lambda m: m["graphs"]["fp32"].update(file="../model.onnx"), "graphs.fp32.file"),
        (lambda m: m["golden"].update(file="gone.npz"), "names gone.npz, which is not in the bundle"),
        (lambda m: m["graphs"]["fp16"].update(file="gone.onnx"), r"names gone\.onnx \(fp16\), which is not"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused_in_one_line(
    folder: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        Bundle.open(edit_manifest(folder, change))
    assert "\n" not in str(caught.value)


def test_a_graph_that_the_manifest_does_not_mean_is_refused(folder: Path) -> None:
    shutil.copy(folder / "model.fp16.onnx", folder / "model.fp32.onnx")
    with pytest.raises(BundleIntegrityError, match="not the fp32 graph that the manifest names"):
        Bundle.open(seal(folder))


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_a_corrupt_graph_is_refused_with_its_name(folder: Path, keep: int) -> None:
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx is not a"):
        Bundle.open(put_graph(folder, (folder / "model.fp32.onnx").read_bytes()[:keep]))


def _external(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _hide_in_initializer(model: onnx.ModelProto) -> None:
    _external(model.graph.initializer[0])


def _hide_in_branch(model: onnx.ModelProto) -> None:
    """Two graphs deep, in the attribute of a constant."""
    weights = TensorProto(name="hidden", dims=[1], data_type=TensorProto.FLOAT)
    _external(weights)
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=weights)], "inner", [], [])
    outer = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], "o", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=outer, else_branch=outer))


def _hide_in_sparse(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    _external(sparse.indices)


def _hide_in_function(model: onnx.ModelProto) -> None:
    weights = TensorProto(name="hidden", dims=[1], data_type=TensorProto.FLOAT)
    _external(weights)
    model.functions.add(name="f", domain="d").node.append(helper.make_node("Constant", [], ["c"], value=weights))


@pytest.mark.parametrize("hide", [_hide_in_initializer, _hide_in_branch, _hide_in_sparse, _hide_in_function])
def test_data_outside_the_bundle_is_found_wherever_it_hides(
    folder: Path, hide: Callable[[onnx.ModelProto], object]
) -> None:
    with pytest.raises(BundleIntegrityError, match=r"keeps data of .* in another file"):
        Bundle.open(edit_graph(folder, hide))


def _to_float(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _to_grey(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 1


def _to_more_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1


def _to_foreign(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_to_float, "takes tiles_u8: float32 N x H x W x 3; the manifest says uint8 tiles N x T x T x 3"),
        (_to_grey, "takes tiles_u8: uint8 N x H x W x 1; the manifest says"),
        (_to_more_classes, "returns scores_u8: uint8 .*; the manifest says uint8 scores"),
        (lambda m: m.graph.output.append(m.graph.output[0]), "returns scores_u8: .*, scores_u8"),
        (lambda m: m.graph.ClearField("input"), "takes nothing"),
        (_to_foreign, "uses com.microsoft::EPContext; graphs use standard ONNX operators only"),
    ],
)
def test_a_graph_of_another_kind_is_refused(
    folder: Path, change: Callable[[onnx.ModelProto], object], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        Bundle.open(edit_graph(folder, change))


def test_golden_tiles_that_contradict_the_manifest_are_refused(folder: Path) -> None:
    right = Bundle.open(folder).golden()
    for arrays, says in (
        ({"tiles": right.tiles[:1], "scores": right.scores}, "tiles are uint8 .* the manifest says"),
        ({"tiles": right.tiles, "scores": right.scores.astype(np.float32)}, "scores are float32"),
        ({"tiles": right.tiles.astype(object), "scores": right.scores}, "tiles are object"),
        ({"tiles": right.tiles}, "holds no scores"),
    ):
        with pytest.raises(BundleError, match=says):
            put_golden(folder, **arrays).golden()


def test_golden_tiles_that_are_cut_short_or_none_are_refused(folder: Path) -> None:
    for data in (b"", b"PK", (folder / "golden.npz").read_bytes()[:-9]):
        (folder / "golden.npz").write_bytes(data)
        with pytest.raises(BundleError, match=r"golden\.npz holds no tiles"):
            Bundle.open(seal(folder)).golden()
    header = io.BytesIO()
    golden = Bundle.open(folder).manifest.golden
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (golden.tiles, golden.tile_px, golden.tile_px, 3)}
    )
    with zipfile.ZipFile(folder / "golden.npz", "w") as archive:
        archive.writestr("tiles.npy", header.getvalue() + b"too little")
    with pytest.raises(BundleError, match="tiles are cut short"):
        Bundle.open(seal(folder)).golden()


def test_golden_tiles_that_would_fill_the_memory_are_refused(folder: Path) -> None:
    edit_manifest(folder, lambda m: m["golden"].update(tiles=10**6, tile_px=10**4))
    with pytest.raises(BundleError, match="golden tiles of more than 512 MiB"):
        Bundle.open(folder).golden()
