"""The package keeps its promises: lean runtime, one-way imports, and a wheel that works."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = (
    "device",
    "runtime",
    "models",
    "training",
    "evaluation",
    "export",
    "calibration",
    "benchmarks",
    "provisioning",
)
HEAVY = (
    "torch",
    "onnx",
    "onnxscript",
    "tensorrt",
    "pycuda",
    "openvino",
    "gi",
    "jinja2",
    "matplotlib",
    "amqtt",
    "prometheus_client",
    "sklearn",
    "sqlalchemy",
    "psycopg",
)
# A package may import those that stand before it; evaluation, and what stands on it, never each other's side.
MAY_IMPORT = {
    "errors": set(),
    "device": {"errors"},
    "runtime": {"errors", "device"},
    "evaluation": {"errors", "device", "runtime"},
    "models": {"errors", "device", "runtime", "evaluation"},
    "training": {"errors", "device", "runtime", "evaluation", "models"},
    "export": {"errors", "device", "runtime", "evaluation", "models"},
    "calibration": {"errors", "device", "runtime", "evaluation", "models", "export"},
    "provisioning": {"errors", "device", "runtime"},
    "benchmarks": {"errors", "device", "runtime", "evaluation", "models", "export", "calibration"},
}


def modules(folder: str) -> list[str]:
    names = []
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        names.append(".".join(parts if parts[0] == "jetspect" else ("jetspect", *parts)))
    return names


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {n.split(".")[1] for n in names if n.startswith("jetspect.")}
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_arrows_run_one_way(folder: str) -> None:
    for path in (REPOSITORY / folder).rglob("*.py"):
        beyond = imports(path) - MAY_IMPORT[folder] - {folder}
        assert not beyond, f"{path.relative_to(REPOSITORY)} imports {beyond}"


def test_every_root_folder_has_its_link() -> None:
    for folder in FOLDERS:
        link = REPOSITORY / "jetspect" / folder
        assert link.is_symlink(), folder
        assert link.resolve() == REPOSITORY / folder


def test_the_runtime_and_the_commands_import_without_any_heavy_package() -> None:
    names = [*modules("runtime"), *modules("device"), *modules("jetspect/cli")]
    code = (
        "import sys, importlib\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {HEAVY!r}: raise ImportError(name + ' is blocked', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the package installed from a copy of the sources, without extras."""
    root = tmp_path_factory.mktemp("lean")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        source, target = REPOSITORY / name, root / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            shutil.copy(source, target)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / "venv"], check=True)
    python = root / "venv" / "bin" / "python"
    what = ["--quiet", "--constraint", REPOSITORY / "tests" / "constraints.txt", root / "source"]
    by_uv = [sys.executable, "-m", "uv", "pip", "install", "--compile-bytecode", "--python", python, *what]
    # pip where uv does not know the mirrors that pip knows.
    if subprocess.run(by_uv, timeout=280).returncode:
        subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *what], check=True, timeout=280)
    return python


@pytest.mark.timeout(290)
def test_a_plain_install_is_lean_and_works(lean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "import json; from importlib.metadata import distributions as d; print(json.dumps([p.name.lower() for p in d()]))"
    installed = set(json.loads(subprocess.run([lean, "-c", code], capture_output=True, text=True, check=True).stdout))
    assert not installed & {"torch", "onnx", "onnxscript", "jinja2", "matplotlib", "amqtt", "scipy"}
    assert {"numpy", "opencv-python-headless", "onnxruntime", "paho-mqtt", "pydantic"} <= installed

    site = next((lean.parents[1] / "lib").glob("python*/site-packages"))
    size = sum(f.stat().st_size for f in site.rglob("*") if f.is_file())
    started = time.perf_counter()
    subprocess.run([lean, "-c", "import jetspect.runtime.assembly"], check=True, cwd=tmp_path)
    cold = time.perf_counter() - started
    started = time.perf_counter()
    subprocess.run([lean, "-c", "import jetspect.runtime.assembly"], check=True, cwd=tmp_path)
    warm = time.perf_counter() - started
    with capsys.disabled():
        print(f"\nlean runtime: {size / 1e6:.0f} MB installed, import {cold:.2f} s cold, {warm:.2f} s warm")

    command = lean.parent / "jetspect"
    shown = subprocess.run(
        [command, "bundle", "show", REPOSITORY / "bundles" / "metal-demo"], capture_output=True, text=True, cwd=tmp_path
    )
    assert shown.returncode == 0, shown.stderr
    assert "metal-demo" in shown.stdout
    refused = subprocess.run(
        [command, "export", "x.pt", "--out", "y", "--dataset", "synthetic"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert refused.returncode == 2
    assert "pip install 'jetspect[export]'" in refused.stderr
    refused = subprocess.run([command, "device", "selftest"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert "pip install 'jetspect[cuda]'" in refused.stderr
    assert (site / "jetspect/runtime/postprocess/kernels.cu").is_file()


def test_no_machine_path_stands_in_the_sources() -> None:
    # Built from parts, so that this file does not find itself.
    marks = ["/" + name + "/" for name in ("work", "root", "farm")]
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        path = REPOSITORY / name
        if path.suffix in (".py", ".md", ".toml", ".cfg", ".json", ".sh", ".html") and path.is_file():
            text = path.read_text()
            assert not any(mark in text for mark in marks), name
