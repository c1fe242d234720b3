# Two commands for newcomers: `make demo` and `make test`. Each sets up what it needs; a stamp file says what is done.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGE_FILES := setup.cfg pyproject.toml

.PHONY: demo test lint types pytest pytest-training pytest-rest system-test debian-root pycuda-test format clean

demo: $(VENV)/.stamp-demo
	$(BIN)/jetspect demo --out demo

test: system-test
	$(MAKE) --jobs 2 debian-root $(VENV)/.stamp-test
	$(MAKE) lint
	$(MAKE) --jobs 2 --output-sync types pytest-training
	$(MAKE) pytest-rest

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.stamp-test
	$(BIN)/mypy

# One thread each, which is enough for tracing models. What trains and traces runs in processes of its own: in one that had run all
# other tests before, torch ended now and then by a segmentation fault. The rest waits for brokers and cameras much of its time, so
# that three share two cores.
TRAINING := tests/models tests/training tests/test_systems.py
pytest: pytest-training pytest-rest
pytest-training: $(VENV)/.stamp-test system-test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal $(TRAINING)
pytest-rest: $(VENV)/.stamp-test system-test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist worksteal $(foreach path,$(TRAINING),--ignore $(path))

format: $(VENV)/.stamp-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The broker and the cameras that the tests start for real. apt is used when root, otherwise the command to run is printed.
system-test:
	@sh tests/system_packages.sh

# A small Debian, in which tests bring up devices. As root.
debian-root: .debian-root
.debian-root: tests/debian_root.sh | system-test
	sh tests/debian_root.sh $@
	@touch $@

# The real PyCUDA on a CUDA driver made of this processor. Needs CUDA's toolkit, no GPU; the first time takes some minutes.
pycuda-test:
	sh tests/pycuda/build.sh .pycuda

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-demo: $(BIN)/python $(PACKAGE_FILES)
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt --editable '.[demo]'
	@touch $@

# PyGObject is built from source, so the system's parts come first. uv unpacks the five gigabytes in a third of pip's time; where it
# cannot be had, or does not know the mirrors that pip knows, pip does it.
TEST_PACKAGES := --constraint tests/constraints.txt --editable '.[test]'
$(VENV)/.stamp-test: $(BIN)/python $(PACKAGE_FILES) tests/constraints.txt | system-test
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --quiet --python $(BIN)/python $(TEST_PACKAGES) \
	    || $(BIN)/python -m pip install --quiet --no-compile $(TEST_PACKAGES)
	@touch $@ $(VENV)/.stamp-demo

clean:
	rm -rf $(VENV) .debian-root build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache
