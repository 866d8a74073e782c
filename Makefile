# The two commands of a newcomer: `make demo` and `make test`. Both create the environment if need be.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?=
PYTEST ?= -n auto --dist loadfile
BENCH ?=

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo demo-small test test-slow test-openapi check format bench bench-speed bench-demo bench-doctor bench-serve bench-studio \
    fuzz-studio kill-studio results results-prefer results-reward results-real results-runs results-panels screenshots \
    docs wheel clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("heedful needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the whole loop on the built-in world (DEMO="key=value ..." sets more)
	$(BIN)/heedful demo $(DEMO)

demo-small: $(READY)  ## the demo at a size for tests, about a minute
	$(BIN)/heedful loop small $(DEMO)

test: $(READY)  ## the tests, without the slow ones
	$(BIN)/python -m pytest $(PYTEST) -m "not slow"

test-slow: $(READY)  ## the slow tests: kills, whole loops, three seeds
	$(BIN)/python -m pytest $(PYTEST) -m slow

test-openapi: $(READY)  ## many property-based requests from the server's OpenAPI document (minutes)
	HEEDFUL_SCHEMATHESIS=100 $(BIN)/python -m pytest tests/serve/test_schemathesis.py

check: $(READY)  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## format and mend what can be mended
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: bench-speed bench-demo  ## both benchmarks

bench-speed: $(READY)  ## speed and memory against TRL (BENCH="--only sft,dpo key=value ..." sets more)
	$(BIN)/heedful bench $(BENCH)

bench-serve: $(READY)  ## load on `heedful serve` beside a plain `generate` server (BENCH="--many 1000 ..." sets more)
	$(BIN)/python benchmarks/serve.py $(BENCH)

bench-doctor: $(READY)  ## what `heedful doctor` forecasts beside what stages take (BENCH="--models A ..." chooses)
	$(BIN)/python benchmarks/doctor.py $(BENCH)

bench-demo: $(READY)  ## run the demo for three seeds and print time, memory and figures
	$(BIN)/python benchmarks/demo.py

RESULTS := $(foreach seed,0 1 2,runs/results/demo-s$(seed))
REAL := $(foreach seed,0 1 2,runs/results/real-s$(seed))

results-runs: $(READY)
	for run in $(RESULTS); do \
	    $(BIN)/heedful demo seed=$${run##*-s} 'skip=[rl,prefer]' evaluate.max_prompts=16 output=$$run || exit 1; \
	done

results: results-runs  ## every way to learn from a reward, side by side: three seeds, over an hour
	$(BIN)/python benchmarks/results.py $(RESULTS) --output runs/results/table
	$(BIN)/python benchmarks/overoptimisation.py $(RESULTS) --output runs/results/overoptimisation --show

results-prefer: results-runs  ## alignment without RL: losses, conditions, a model's labels, honesty
	$(BIN)/python benchmarks/preference.py $(RESULTS) --out runs/results/preference.json
	$(BIN)/python benchmarks/conditioned.py $(RESULTS) --out runs/results/conditioned.json
	$(BIN)/python benchmarks/revision.py $(RESULTS) --out runs/results/revision.json
	$(BIN)/python benchmarks/honesty.py $(RESULTS) --out runs/results/honesty.json
	$(BIN)/python benchmarks/self_rewarding.py $(RESULTS) --out runs/results/self_rewarding.json

results-reward: results-runs  ## objectives of reward models, and process rewards
	$(BIN)/python benchmarks/reward_objectives.py $(RESULTS) --draws 1 --out runs/results/reward_objectives.json
	$(BIN)/python benchmarks/process_reward.py $(RESULTS) --out runs/results/process_reward.json

results-real: $(READY)  ## the tables on a real model and real pairs (MODEL=DIR PAIRS=FILE TEXTS=FILE)
	for run in $(REAL); do \
	    $(BIN)/python benchmarks/real_run.py $(MODEL) $(PAIRS) $(TEXTS) --output $$run --seed $${run##*-s} || exit 1; \
	done
	$(BIN)/python benchmarks/results.py $(REAL) --output runs/results/real-table
	$(BIN)/python benchmarks/preference.py $(REAL) --prompts 300 --test 100 --out runs/results/preference_real.json

results-panels: $(READY)  ## every figure of docs/panels.md, over an hour (SHARED=DIR adds real tales, PANELS=--quick sees that it runs)
	$(BIN)/python benchmarks/panels.py $(if $(SHARED),--shared $(SHARED)) $(PANELS)

bench-studio: $(READY)  ## 200 annotators at once, and a store of a million events
	$(BIN)/python benchmarks/studio.py

fuzz-studio: $(READY)  ## more than 20,000 bad requests to every address of the studio
	HEEDFUL_FUZZ=600 $(BIN)/python -m pytest tests/web/test_web_fuzz.py -s

kill-studio: $(READY)  ## 50 kills of the studio under 20 submitting clients
	HEEDFUL_KILLS=50 $(BIN)/python -m pytest tests/web/test_web_kills.py -m slow -s

screenshots: $(READY)  ## pictures of every page of the studio, light and dark (needs chromium)
	$(BIN)/python docs/screenshots.py

docs: $(READY)  ## write the generated parts of the documentation anew
	$(BIN)/python docs/make.py

wheel: $(READY)  ## build the wheel in dist/
	$(BIN)/pip install --quiet build
	$(BIN)/python -m build --wheel

clean:  ## remove runs, caches and builds; the environment stays
	rm -rf runs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
