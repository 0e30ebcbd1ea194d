# The tasks of users, contributors and CI in a checkout. `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help demo run test test-faults test-fuzz test-containers check reference bench bench-growth bench-proof bench-retention format lock clean

# Created when the virtual environment is complete. An incomplete one lacks it and is created anew.
READY := .venv/ready
# Created when the benchmarks' peers are installed too.
BENCH_READY := .venv/bench-ready

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## Show a lost update being refused, with real servers (FILE=… runs your own commands)
	@.venv/bin/genlock demo $(if $(FILE),--file $(FILE))

run: $(READY) ## Start PostgreSQL, RabbitMQ and Genlock, and print lines to paste into another terminal
	@exec .venv/bin/python -m genlock.quickstart

test: $(READY) ## Run the whole test suite, in three processes with servers of their own (JOBS=…), and then floods and measurements, in one
	@.venv/bin/python -m tests.support.prepare
	@.venv/bin/python -m pytest --numprocesses $(or $(JOBS),3) --dist worksteal
	@.venv/bin/python -m pytest tests/timed tests/hostile

test-faults: $(READY) ## Inject random faults, and prove the final state (DURATION=… in seconds, SEED=… to repeat, LANES=…, CLUSTER=1)
	@exec .venv/bin/python -m tests.faults $(if $(DURATION),--seconds $(DURATION)) $(if $(SEED),--seed $(SEED)) $(if $(LANES),--lanes $(LANES)) $(if $(CLUSTER),--cluster)

test-fuzz: $(READY) ## Send random messages through one service (EXAMPLES=… messages, SEED=… for those of an earlier run)
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) FUZZ_SEED=$(SEED) .venv/bin/python -m pytest -s tests/fuzz

test-containers: $(READY) ## Build the image and test it with compose.yaml, and test with servers in Docker
	@.venv/bin/python -m pytest tests/containers
	@GENLOCK_SERVERS=docker .venv/bin/python -m pytest tests/integration
	@GENLOCK_SERVERS=docker .venv/bin/genlock demo

check: $(READY) ## Check format, style, types and the direction of imports
	@.venv/bin/ruff format --check
	@.venv/bin/ruff check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

reference: $(READY) ## Generate docs/reference/ and grants.sql from the code
	@.venv/bin/python -m scripts.reference

bench: $(BENCH_READY) ## Measure beside peers and ceilings, in about 9 minutes (ONLY=… ROUNDS=… COMMANDS=… PICTURE=…)
	@.venv/bin/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(COMMANDS),--commands $(COMMANDS)) --save build/bench.json --picture $(or $(PICTURE),build/bench.png)

bench-growth: $(BENCH_READY) ## Measure with 10 million records and a backlog of a million: 40 GB of disk, 20 minutes or more
	@.venv/bin/python -m bench.growth $(if $(RECORDS),--records $(RECORDS)) $(if $(BACKLOG),--backlog $(BACKLOG)) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) --save build/growth.json

bench-proof: $(READY) ## Measure genlock verify on 10 million changes: 15 GB of disk, 20 minutes (CHANGES=…)
	@.venv/bin/python -m bench.proof $(if $(CHANGES),--changes $(CHANGES))

bench-retention: $(BENCH_READY) ## Measure the size of the ledger and the cost of purging, in two minutes (DAY=… commands)
	@.venv/bin/python -m bench.retention $(if $(DAY),--day $(DAY))

format: $(READY) ## Format the code and apply automatic fixes
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

lock: ## Pin all dependencies again after a change of pyproject.toml (for maintainers)
	@scripts/lock

clean: ## Remove the files that make and the tools have created
	@rm -rf .venv .*_cache .hypothesis dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements-dev.lock scripts/venv
	@scripts/venv $@

$(BENCH_READY): $(READY) requirements-bench.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@
