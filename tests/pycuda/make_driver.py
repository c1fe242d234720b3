"""Compile the driver made of a processor: libcuda.cpp, the kernels, and a refusal for every other call that PyCUDA links to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import host_cuda

HERE = Path(__file__).parent
# Kernels by name, and their arguments taken from the packed buffer that PyCUDA hands over.
TABLE = """
#include <map>
struct Kernel { size_t bytes; std::function<void(const unsigned*, const unsigned*, const char*)> run; };
template <typename... A> Kernel made(void (*kernel)(A...)) {
    size_t offsets[] = {[] { return (size_t)0; }(), sizeof(A)...}, aligns[] = {alignof(A)...};
    std::vector<size_t> places;
    size_t at = 0;
    for (size_t i = 0; i < sizeof...(A); i++) {
        at = (at + aligns[i] - 1) / aligns[i] * aligns[i];
        places.push_back(at);
        at += offsets[i + 1];
    }
    return {at, [=](const unsigned* grid, const unsigned* block, const char* packed) {
        void* arguments[sizeof...(A)];
        for (size_t i = 0; i < sizeof...(A); i++) arguments[i] = (void*)(packed + places[i]);
        host::run(kernel, grid, block, arguments, 1, 0);
    }};
}
"""


def main(extension: Path, target: Path) -> None:
    source, own = host_cuda.KERNELS.read_text(), (HERE / "libcuda.cpp").read_text()
    names = host_cuda.kernel_names(source)
    entries = ", ".join(f'{{"{name}", made({name})}}' for name in names)
    include = target / "kernels.inc"
    include.write_text(
        f'#include "{host_cuda.KERNELS}"\n{TABLE}static const std::map<std::string, Kernel> KERNELS = {{{entries}}};\n'
    )
    listed = subprocess.run(["nm", "-D", str(extension)], capture_output=True, text=True, check=True).stdout
    wanted = set(re.findall(r" U (cu\w+)", listed))
    rest = wanted - set(re.findall(r"CUresult (cu\w+)\(", own))
    refused = target / "refused.c"
    refused.write_text("\n".join(f"int {name}(void) {{ return 801; }}" for name in sorted(rest)))
    subprocess.run(["gcc", "-c", "-fPIC", "-o", str(target / "refused.o"), str(refused)], check=True)
    command = ["g++", "-std=c++17", "-O2", "-g", "-shared", "-fPIC", "-pthread", "-ffp-contract=off"]
    command += [
        f"-I{target}",
        f"-I{Path(host_cuda.__file__).parent}",
        str(HERE / "libcuda.cpp"),
        str(target / "refused.o"),
    ]
    subprocess.run([*command, "-Wl,-soname,libcuda.so.1", "-o", str(target / "libcuda.so.1")], check=True)
    (target / "libcuda.so").unlink(missing_ok=True)
    (target / "libcuda.so").symlink_to("libcuda.so.1")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
