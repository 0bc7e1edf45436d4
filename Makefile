# What a developer does with this project. Needs Rust (https://rustup.rs), Python 3.10 or newer and a C compiler, for the
# tests a C++ compiler too; everything else is installed into .venv and .tools.

PYTHON ?= python3
CARGO_DENY := cargo-deny@0.20.2
CARGO_MACHETE := cargo-machete@0.9.2
CARGO_MUTANTS := cargo-mutants@27.1.0
CFN_GUARD := cfn-guard@3.2.1
SAM := aws-sam-cli==1.170.0
# Swagger UI as its makers built it; of the packages on PyPI only this one is kept up to date.
SWAGGER_UI := drf-spectacular-sidecar==2026.10.1
EXAMPLES ?= 1000
# The oldest that compiles this.
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
FUZZ_SECONDS ?= 60
FUNCTION ?= webhook-handler
MINUTES ?= 10
HISTORIES ?= 1000000
SOAK := faults::soak::everything_at_once_with_faults_loses_nothing
ANSWERS := openapi::every_answer_of_the_functions_is_described
LIVES := model::histories::every_life_of_a_payment_ends_as_the_model_says

# Each function is a package of its own, and built by itself: of functions that are built together each gets what any of
# them needs.
FUNCTIONS := $(notdir $(wildcard functions/*))

.DEFAULT_GOAL := help
.PHONY: help dev test compiled packages bench profile screenshots build deploy lint fuzz openapi soak histories mutants fmt tools relock prerequisites credentials cxx

help: ## this list
	@echo "Everything on this machine: make dev. Every check: make test. All that there is:"
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

dev: tools .tools/$(SWAGGER_UI) ## everything on this machine: the functions, a local AWS, the providers' stand-ins
	@.venv/bin/python tests/local/build.py
	@cargo run --locked --quiet --bin dev

test: tools ## the whole test suite, with every check
	@# Most of what a package takes is linking, on one core: the other does the rest meanwhile.
	@$(MAKE) --no-print-directory --jobs=2 packages compiled
	@# More than CI has processors: many of them wait for something most of the time.
	cargo test --locked --workspace -- --test-threads 3
	FRESH=1 tests/fuzz/run -runs=20000 -seed=1 -use_cmp=0

compiled: lint .tools/valgrind .tools/chromium .tools/$(SWAGGER_UI)
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --no-run

packages: prerequisites
	set -e; for function in $(FUNCTIONS); do cargo build --locked --release --quiet --bins --package $$function; done

bench: packages cxx ## how fast the functions are, beside the same in Node and Python (STARTS=21, INVOCATIONS=1000)
	tests/bench/setup .tools/bench
	cargo build --locked --release --bins --package floors
	@cargo run --locked --quiet --release --bin bench

profile: .tools/valgrind ## where a function's instructions go: FUNCTION (webhook-handler), by callgrind
	CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --locked --release --target-dir target/profile --package $(FUNCTION)
	@cargo run --locked --quiet --release --bin bench -- profile $(FUNCTION) target/profile/release/$(FUNCTION)

screenshots: tools .tools/chromium ## the pictures of the checkout page in docs/images
	cargo build --locked --workspace --bins
	SCREENSHOTS=$(CURDIR)/docs/images cargo test --locked --workspace --test it -- --exact checkout::shown::pictures

fuzz: prerequisites cxx ## every fuzz target for FUZZ_SECONDS (60), or those that TARGETS names
	tests/fuzz/run -max_total_time=$(FUZZ_SECONDS)

openapi: tools ## the functions' answers against openapi.yaml, with EXAMPLES (1000) requests for each route, made at random
	OPENAPI_EXAMPLES=$(EXAMPLES) OPENAPI_SEED=$${OPENAPI_SEED:-$$(date +%s)} cargo test --locked --workspace --test it -- --exact --nocapture $(ANSWERS)

build: tools ## the functions' packages for AWS (arm64), in target/lambda
	rustup target add aarch64-unknown-linux-gnu
	set -e; PATH="$(CURDIR)/.venv/bin:$$PATH"; for function in $(FUNCTIONS); do \
		cargo lambda build --locked --release --arm64 --output-format zip --package $$function; done
	@ls -l target/lambda/*/bootstrap.zip

deploy: tools credentials .tools/$(SAM) ## the first time it asks for everything, then for confirmation only (docs/deploy.md)
	rustup target add aarch64-unknown-linux-gnu
	PATH="$(CURDIR)/.venv/bin:$$PATH" .tools/sam/bin/sam build
	@# SAM makes a new version, which the aliases can refer to, of another package only: other parameters make another.
	@for package in .aws-sam/build/*Function; do grep -s parameter_overrides samconfig.toml | cksum > $$package/parameters; done
	.tools/sam/bin/sam deploy --capabilities CAPABILITY_IAM --confirm-changeset $(if $(wildcard samconfig.toml),,--guided)

soak: tools ## everything at once with faults for MINUTES (10), then an audit
	cargo build --locked --workspace --bins
	SOAK_SECONDS=$$((60 * $(MINUTES))) cargo test --locked --workspace --test it -- --exact --nocapture $(SOAK)

histories: prerequisites ## HISTORIES (a million) lives of payments at random, compared with a model
	HISTORIES=$(HISTORIES) cargo test --locked --workspace --profile histories --test core -- --exact --nocapture $(LIVES)

mutants: .tools/$(CARGO_MUTANTS) ## break the core in every small way, and see which breaks no test notices
	.tools/bin/cargo-mutants mutants --output target --all-features --test-package payment-functions,publish-events,reconcile-payments -- --lib; test $$? -lt 3
	@# For a baseline it would look for the test in the packages that it breaks.
	cargo test --locked --package payment-functions-tests --test core
	.tools/bin/cargo-mutants mutants --output target --iterate --baseline skip --timeout 120 --test-package payment-functions-tests --cargo-arg=--test=core

lint: tools cxx .tools/checkout/installed .tools/$(CARGO_DENY) .tools/$(CARGO_MACHETE) .tools/$(CFN_GUARD) ## format, lints, documentation, dependencies and template, without the tests
	cargo fmt --all --check
	.venv/bin/python tests/openapi/lint.py
	.venv/bin/cfn-lint template.yaml
	.tools/bin/cfn-guard validate --rules tests/policy/template.guard --data template.yaml
	@noted=$$(.tools/bin/cfn-guard test --rules-file tests/policy/template.guard --test-data tests/policy/tests.yaml) || { echo "$$noted"; exit 1; }
	.venv/bin/node .tools/checkout/node_modules/typescript/bin/tsc --project tests/checkout
	.tools/bin/cargo-machete --skip-target-dir
	.tools/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources
	cargo clippy --locked --workspace --all-targets --features payment-functions-tests/libfuzzer -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

fmt: ## format the code
	cargo fmt --all

tools: .venv/installed ## the local AWS, cargo-lambda and what checks, in .venv

relock: prerequisites ## newest versions of the Python tools (give PYTHON=python3.10: the lock must suit the oldest)
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.in
	@echo "# Every version of what requirements.in needs, made by \`make relock\` with the oldest Python that is supported." > tests/requirements.txt
	.venv/bin/pip freeze --disable-pip-version-check >> tests/requirements.txt
	@touch .venv/installed

.venv/installed: tests/requirements.txt | prerequisites
	@echo "installing the local AWS and cargo-lambda into .venv (once, half a minute)"
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt || { echo "make: not everything could be installed into .venv, as pip says above: can PyPI be reached? Run make again then" >&2; exit 1; }
	@touch $@

# Unoptimised: they run for a second, and compile in a third of the time.
.tools/%: | prerequisites
	@echo "compiling $* into .tools (once)"
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --quiet --debug --root .tools $*
	@touch $@

.tools/valgrind:
	@tests/bench/valgrind $@

# By itself: all that it needs is for sites made with Django.
.tools/$(SWAGGER_UI): | .venv/installed
	@rm -rf .tools/swagger-ui
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --target .tools/swagger-ui $(SWAGGER_UI)
	@touch $@

.tools/checkout/installed: tests/checkout/package-lock.json .venv/installed
	@echo "installing TypeScript into .tools/checkout (once)"
	@mkdir -p $(@D) && cp tests/checkout/package.json tests/checkout/package-lock.json $(@D)
	@cd $(@D) && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.tools/chromium:
	@tests/checkout/chromium $@

.tools/$(SAM): | prerequisites
	@echo "installing $(SAM) into .tools/sam (once)"
	@$(PYTHON) -m venv --clear .tools/sam
	@.tools/sam/bin/pip install --quiet --disable-pip-version-check $(SAM)
	@touch $@

# Where something is missing, one line that says what to do.
prerequisites:
	@command -v cargo >/dev/null || { echo "make: Rust is missing: install it from https://rustup.rs and run make again" >&2; exit 1; }
	@cargo --version >/dev/null || { echo "make: cargo does not run: with rustup, run 'rustup toolchain install', which takes the version from rust-toolchain.toml" >&2; exit 1; }
	@cargo --version | awk -v least=$(RUST) '{ split($$2, is, "."); split(least, want, "."); exit (is[1] * 1000 + is[2] < want[1] * 1000 + want[2]) }' || { echo "make: $$(cargo --version) is too old, Rust $(RUST) or newer is needed: run 'rustup update', or install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing (cc): on Debian and Ubuntu apt install build-essential, on macOS xcode-select --install" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "make: Python 3.10 or newer is missing ($(PYTHON)): install it, or give another one with PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: Python's venv module is missing ($(PYTHON)): on Debian and Ubuntu apt install python3-venv" >&2; exit 1; }

credentials: tools
	@.venv/bin/python -c 'import boto3, sys; sys.exit(boto3.Session().get_credentials() is None)' 2>/dev/null || { echo "make: there are no AWS credentials: run 'aws configure' or 'aws sso login', or name a profile with AWS_PROFILE (docs/deploy.md)" >&2; exit 1; }

cxx:
	@command -v c++ >/dev/null || { echo "make: a C++ compiler is missing (c++), which libFuzzer needs: on Debian and Ubuntu apt install build-essential, on macOS xcode-select --install" >&2; exit 1; }
