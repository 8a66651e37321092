# Two commands do everything: `make demo` and `make test`. Uses uv when it is there, else venv and pip.
VENV ?= .venv
BIN := $(VENV)/bin
# A version manager may leave a `uv` or `python3.12` on the path that does not run: ask it for something first.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
  $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))) python3)
endif

.PHONY: demo test check lock clean

$(BIN)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "safetycatch needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
ifneq ($(UV),)
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[test]' || \
	  { echo "uv could not; trying pip"; $(MAKE) UV= $@; }
else
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
endif
	@touch $@

demo: $(BIN)/.ready
	@$(BIN)/safetycatch run experiments/demo.yaml

check: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -n auto --dist loadfile

# Universal over Python 3.11-3.13, versions only: no index addresses.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -o constraints.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
