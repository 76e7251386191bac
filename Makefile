# darkserver: `make` alone lists what can be done.

RPMS ?= compat-tests/fixtures/rpms
PORT ?= 8002
DATABASE ?= sqlite
PROFILE ?= release
SIZE ?=
PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 600
export RPMS PORT DATABASE PROFILE MYSQLD FUZZ_SECONDS TARGETS SIZE HEADERS PACKAGES BUILDS ROUNDS SECONDS_EACH ONLY
export PREFIX DESTDIR

.PHONY: help run build install test test-fast test-mysql soak lint chart fuzz fuzz-corpus fixtures fixtures-check
.PHONY: bench bench-index bench-answer bench-serve bench-scale bench-federate bench-repository bench-reach corpus
.PHONY: install-tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run RPMS=/srv/rpms PORT=9000     serve a directory of your own on another port"
	@echo "  make run DATABASE=mysql               use a private MariaDB under ./var instead of SQLite"
	@echo "  make fuzz FUZZ_SECONDS=60 TARGETS=elf one target, one minute"

run: ## Build, index sample RPMs, serve on 127.0.0.1:8002 and print three things to try
	@make/run.sh

build: ## Build the three programs
	@make/build.sh

install: ## Install programs, units and samples below DESTDIR/PREFIX (default: /usr/local)
	@make/install.sh

test-fast: ## Run unit tests, GDB, debuginfod-find and the JSON API: a minute after a build
	@make/test-fast.sh

test: install-tools ## Install what is missing, then run every test, on SQLite and on MariaDB
	@make/test.sh

test-mysql: install-tools ## Run the tests of the database on MySQL (MYSQLD=/usr/sbin/mysqld) instead of MariaDB
	@make/test-mysql.sh

soak: install-tools ## The same tests with large counts and long runs
	@DARKSERVER_SOAK=1 make/test.sh

fuzz: ## Fuzz each target for ten minutes (needs a nightly Rust and cargo-fuzz)
	@make/fuzz.sh run

fuzz-corpus: ## Add the inputs that fuzzing found to fuzz/corpus, minimised
	@make/fuzz.sh corpus

lint: ## Format and lint
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

chart: ## Render and validate the Helm chart
	cargo build --workspace --bins --locked
	VENV=var/chart-venv helm/test/run.sh

fixtures: ## Rebuild the fixture RPMs into compat-tests/fixtures/rpms (needs rpmbuild)
	@make/fixtures.sh replace

fixtures-check: ## Rebuild the fixture RPMs in another directory and compare them
	@make/fixtures.sh check

bench: ## Measure darkserver beside debuginfod and the limits of the machine; results in bench/results
	@make/bench.sh index answer serve

bench-index: ## Only imports
	@make/bench.sh index

bench-answer: ## Only requests per second and latencies
	@make/bench.sh answer

bench-serve: ## Only large members
	@make/bench.sh serve

bench-scale: ## Ten million build-ids on MariaDB (BUILD_IDS=10000000): not part of bench
	@make/bench.sh scale

bench-federate: ## Federation: our gateway beside debuginfod, with upstreams that hang (SIZE=small, medium or large)
	@make/bench.sh federate

bench-repository: ## A generated repository behind a local HTTP server, beside dnf (SIZE=small, medium or large)
	@make/bench.sh repository

bench-reach: ## Builds of a Koji: from message to answer, and backfills (SIZE=small, medium or large)
	@make/bench.sh reach

corpus: ## Make the packages for the benchmarks in var/corpus (SIZE=small, medium or large)
	@bench/corpus/make.py $(or $(SIZE),small)

install-tools: ## Install the servers and clients that the tests need
	@make/install-tools.sh test

clean: ## Remove target and var: builds, indexes, caches
	rm -rf target var
