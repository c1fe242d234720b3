"""``jetspect bundle lint`` in words and JSON, for bundles and single files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import Done, jetspect
from onnx import TensorProto, helper, numpy_helper

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "metal-demo"


def lint(*words: object) -> Done:
    return jetspect("bundle", "lint", *words)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five nodes that no TensorRT has, the first with a name that looks like markup and is long."""
    names = ["[red]" + "very_long_name_" * 12, "det1", "det2", "det3", "det4"]
    one = numpy_helper.from_array(np.eye(2, dtype=np.float32), "one")
    nodes = [helper.make_node("Det", ["one"], [f"y{i}"], name=name) for i, name in enumerate(names)]
    outputs = [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in nodes]
    graph = helper.make_graph(nodes, "g", [], outputs, [one])
    path = tmp_path_factory.mktemp("bad") / "bad.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def test_a_bundle_is_looked_at_graph_by_graph() -> None:
    done = lint(BUNDLE, "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [g["graph"] for g in data["graphs"]] == ["fp32", "fp16"]
    assert data["counts"]["error"] == 0
    assert all(g["targets"] == ["8.6", "10.3", "10.13", "11"] for g in data["graphs"])
    one = json.loads(lint(BUNDLE, "--precision", "fp16", "--target", "11", "--target", "10.3", "--json").stdout)
    assert [(g["precision"], g["targets"]) for g in one["graphs"]] == [("fp16", ["11", "10.3"])]


def test_an_error_is_exit_1_and_every_node_is_in_the_json(bad: Path) -> None:
    done = lint(bad, "--json")
    assert done.returncode == 1, done.stderr
    data = json.loads(done.stdout)
    assert data["counts"] == {"error": 5, "warning": 0, "note": 0}
    (graph,) = data["graphs"]
    assert graph["graph"] == "bad.onnx"
    assert {"node", "rule", "severity", "why", "fix", "targets"} == set(graph["findings"][0])
    assert [f["node"][:5] for f in graph["findings"]] == ["[red]", "det1", "det2", "det3", "det4"]


def test_the_table_groups_nodes_and_fits_whatever_they_are_called(bad: Path) -> None:
    done = lint(bad)
    assert done.returncode == 1, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "[red]very_long_name" in done.stdout and "+ 2 more" in done.stdout and "det3" not in done.stdout
    assert done.stdout.splitlines()[-1] == "5 errors, 0 warnings, 0 notes"


def test_a_graph_with_nothing_against_it_says_so(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 2)) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "good.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    done = lint(path)
    assert (done.returncode, "nothing against TensorRT 8.6" in done.stdout) == (0, True), done.stderr
    assert "not-quantised" in lint(path, "--precision", "int8").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere.onnx",), "nowhere.onnx cannot be read"),
        (("nowhere",), "nowhere does not exist"),
        ((BUNDLE, "--precision", "int8"), "has no int8 graph"),
        ((BUNDLE, "--precision", "fp8"), "precision 'fp8' is not known"),
        ((BUNDLE, "--target", "9"), "TensorRT '9' is not known here; use one of 8.6, 10.3, 10.13, 11"),
    ],
)
def test_what_cannot_be_linted_is_exit_2(words: tuple[object, ...], says: str) -> None:
    done = lint(*words, "--json")
    assert done.returncode == 2
    assert says in json.loads(done.stdout)["error"]["message"]
