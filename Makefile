# darkserver: `make` alone lists what can be done.

RPMS ?= compat-tests/fixtures/rpms
PORT ?= 8002
DATABASE ?= sqlite
PROFILE ?= release
SIZE ?=
FUZZ_SECONDS ?= 600
export RPMS PORT DATABASE PROFILE MYSQLD FUZZ_SECONDS TARGETS SIZE HEADERS ROUNDS SECONDS_EACH ONLY

.PHONY: help run test test-mysql soak bench bench-index bench-answer bench-serve bench-scale corpus fuzz fuzz-corpus lint chart fixtures fixtures-check install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run RPMS=/srv/rpms PORT=9000     serve a folder of your own on another port"
	@echo "  make run DATABASE=mysql               use a private MariaDB under ./var instead of SQLite"
	@echo "  make fuzz FUZZ_SECONDS=60 TARGETS=elf one target, one minute"

run: ## Build, index sample RPMs, serve on 127.0.0.1:8002 and say what to try
	@make/run.sh

test: install ## Install what is missing, then run every test, on SQLite and on MariaDB
	@make/test.sh

test-mysql: install ## Run the tests of the database on MySQL (MYSQLD=/usr/sbin/mysqld) instead of MariaDB
	@make/test-mysql.sh

soak: install ## The same tests with large counts and long runs
	@DARKSERVER_SOAK=1 make/test.sh

fuzz: ## Fuzz each target for ten minutes (needs a nightly Rust and cargo-fuzz)
	@make/fuzz.sh run

fuzz-corpus: ## Keep what fuzzing found in fuzz/corpus, minimised
	@make/fuzz.sh corpus

lint: ## Format and lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

chart: ## Render and validate the Helm chart
	VENV=var/chart-venv helm/test/run.sh

fixtures: ## Build the fixture RPMs anew into compat-tests/fixtures/rpms (needs rpmbuild)
	@make/fixtures.sh replace

fixtures-check: ## Build the fixture RPMs elsewhere and compare what matters
	@make/fixtures.sh check

bench: ## Measure darkserver, debuginfod and the machine side by side; results in bench/results
	@make/bench.sh index answer serve

bench-index: ## Only from RPMs to an index
	@make/bench.sh index

bench-answer: ## Only requests per second and latencies
	@make/bench.sh answer

bench-serve: ## Only large members
	@make/bench.sh serve

bench-scale: ## Ten million build-ids on MariaDB (BUILD_IDS=10000000): size of index and filter, misses; not part of bench
	@make/bench.sh scale

corpus: ## Make the packages to measure with in var/corpus (SIZE=small, medium or large)
	@bench/corpus/make.py $(or $(SIZE),small)

install: ## Install the servers and clients that the tests need
	@make/install.sh test

clean: ## Remove what was built, indexed and cached
	rm -rf target var
