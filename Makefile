# Every target sets up what it needs on a fresh Debian or Ubuntu with Python 3.11 or newer: .venv with the
# packages of pyproject.toml, and Icarus Verilog and a browser where they may be installed. Later runs reuse what is there.
# A CPU-only torch suffices; where an index offers one it saves gigabytes, installed into .venv beforehand.
SHELL := bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
ARGS ?=

.PHONY: demo test verify lint simulator browser clean

demo: .venv/.ready simulator ## the whole line on the small ViT that ships here
	.venv/bin/vitrtl demo --out out/demo $(ARGS)

# One test process per core (pytest-xdist), hence few threads in each: torch one, numba two, so that kernels
# still split their loops. ARGS goes to pytest: make test ARGS="-m 'not cosim' --data DIR"
test: .venv/.ready simulator browser ## every test, RTL cosimulation and the report pages in a browser included
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 pytest -q -n auto --maxprocesses 8 --dist worksteal $(ARGS)

verify: .venv/.ready simulator ## RTL of every unit: simulated, by the million, on the model's tensors; five minutes on two cores
	.venv/bin/vitrtl verify --out out/verify $(ARGS)

lint: .venv/.ready ## style, types, import rule, spelling
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache --no-logo
	codespell

simulator:
	@.ci/setup simulator

browser:
	@.ci/setup browser

.venv/.ready: pyproject.toml
	@.ci/setup venv

clean: ## everything the targets made
	rm -rf .venv out build dist sim_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
