# make demo   personalizes the demo's prior to a procedural person, in two to six
#             minutes
# make viewer shows that person in the browser
# make test   runs all tests; needs only Python 3.11
# make check  runs quick checks: lint, types, structure, pure functions
# make bench  measures the timings in BENCHMARKS.md
# make bench-gpu, make test-gpu  do the same on a GPU; set PYTHON to a Python with
#             requirements.txt installed
# make docs   builds the documentation site, docs/_build/html/index.html
# make clean  removes everything that the other targets make

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n 2 --dist worksteal

RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Only benchmarks need this: commands (--program_cache) and tests/conftest.py keep
# compiled programs on their own.
bench: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo viewer test check bench bench-gpu test-gpu docs clean install

install: $(STAMP)

$(STAMP): requirements-cpu.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable ".[test]"
	touch $(STAMP)

demo: $(STAMP)
	rm -rf runs/demo
	$(RUN) -m my3dgen_jax.launch.personalize --flagfile=demo.flags

$(VENV)/.viewer: $(STAMP)
	$(RUN) -m pip install --quiet --editable ".[viewer]"
	touch $@

viewer: $(VENV)/.viewer
	test -f runs/demo/summary.json || $(MAKE) demo
	$(RUN) -m my3dgen_jax.launch.viewer --run=runs/demo --runs=runs \
	    --out=out/viewer --open $(VIEWER_FLAGS)

# Tests marked "numbers" compile with full optimization, the others with little.
test: $(STAMP)
	JAX_PLATFORMS=cpu MY3DGEN_COMPILE_FULLY=1 $(RUN) -m pytest $(PYTEST_ARGS) \
	    -m numbers tests/models tests/ops tests/losses tests/converters
	JAX_PLATFORMS=cpu $(RUN) -m pytest $(PYTEST_ARGS) -m "not numbers" tests

$(VENV)/.check: $(STAMP)
	$(RUN) -m pip install --quiet --editable ".[check]"
	touch $@

# Tests that compile little; the others run in `make test`.
CHECKED := tests/structure_test.py tests/words_test.py tests/config_test.py \
    tests/directions_test.py tests/data tests/jobs tests/storage \
    tests/launch/flags_test.py tests/docs_test.py

check: $(VENV)/.check
	$(RUN) -m ruff check my3dgen_jax converters tests benchmarks examples
	$(RUN) -m ruff format --check my3dgen_jax converters tests benchmarks examples
	$(RUN) -m tests.types.check
	JAX_PLATFORMS=cpu $(RUN) -m pytest -q $(PYTEST_ARGS) \
	    --deselect tests/docs_test.py::PythonTest $(CHECKED)

bench: $(STAMP)
	$(RUN) -m benchmarks.forward
	$(RUN) -m benchmarks.tuning

# Installs nothing: GPU machines have their own JAX with CUDA.
bench-gpu:
	$(PYTHON) -m benchmarks.gpu $(BENCH_FLAGS)

test-gpu:
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTHON) -m pytest -s -q tests/gpu

$(VENV)/.docs: $(STAMP)
	$(RUN) -m pip install --quiet --editable ".[docs]"
	touch $@

# Strict: warnings are errors. Needs no network once the extra is installed.
docs: $(VENV)/.docs
	JAX_PLATFORMS=cpu $(RUN) -m sphinx --fail-on-warning --keep-going \
	    --nitpicky --quiet docs docs/_build/html
	$(RUN) docs/check_site.py docs/_build/html

clean:
	rm -rf $(VENV) docs/_build .cache *.egg-info .pytest_cache
