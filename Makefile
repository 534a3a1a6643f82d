# The two commands: `make demo` shows the whole road, `make test` checks it. `make check` lints and types.
PYTHON ?= python3
BIN := .venv/bin
# pip does not tell uv where wheels lie on disk; both get the same pins.
FIND := $(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)",)

.PHONY: demo test check install install-dev clean

demo: .venv/.core
	$(BIN)/forja run demo

test: .venv/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

check: .venv/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

install: .venv/.core
install-dev: .venv/.dev

.venv/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(FIND) --constraint constraints.txt --editable .
	touch $@

.venv/.dev: .venv/.core
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(FIND) --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build src/forja.egg-info
