#!/bin/sh
# Build PyCUDA and a CUDA driver made of this processor, and run test_driver.py on them. Takes some minutes, needs nvcc's toolkit.
# sh tests/pycuda/build.sh FOLDER   (what is built stays there for the next time)
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
root=$(cd "$(dirname "$0")/../.." && pwd)
toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")")")
[ -x "$toolkit/bin/nvcc" ] || toolkit=/usr/local/cuda
export CPATH="$toolkit/include" LIBRARY_PATH="$folder/lib" LD_LIBRARY_PATH="$folder/lib" CUDA_ROOT="$toolkit" PATH="$toolkit/bin:$PATH"
mkdir -p "$folder/lib"
if [ ! -x "$folder/venv/bin/python" ]; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q --constraint "$root/tests/constraints.txt" numpy setuptools wheel pytools platformdirs mako \
        opencv-python-headless pydantic pytest hypothesis onnxruntime
fi
if ! "$folder/venv/bin/pip" show -q pycuda 2>/dev/null; then
    "$folder/venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary pycuda -d "$folder" pycuda
    mkdir -p "$folder/source" && tar xzf "$folder"/pycuda-*.tar.gz -C "$folder/source" --strip-components 1
    echo 'void nothing(void) {}' > "$folder/empty.c"
    gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$folder/lib/libcuda.so" "$folder/empty.c"
    (cd "$folder/source" && "$folder/venv/bin/python" configure.py && "$folder/venv/bin/pip" install -q --no-build-isolation --no-deps .)
fi
extension=$(ls "$folder"/venv/lib/python3*/site-packages/pycuda/_driver*.so)
PYTHONPATH="$root:$root/tests/helpers" "$folder/venv/bin/python" "$root/tests/pycuda/make_driver.py" "$extension" "$folder/lib"
PYTHONPATH="$root" "$folder/venv/bin/python" -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" --rootdir "$root" -W default "$root/tests/pycuda"
