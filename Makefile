# Each target is a few commands that can also be typed by hand. `make` alone lists them.

CARGO ?= cargo
# Build with exactly the versions in Cargo.lock.
LOCKED := --locked
# Appended to the command that a target runs: make demo ARGS="--nodes 8"
ARGS ?=
# One crate only: make test PACKAGE=iperf3-mesh-core
PACKAGE ?=
# For `make sim`: how many storms, or a range of seeds.
SEEDS ?= 1000
# For `make fuzz`: how long each target runs, and which one (default: all).
SECONDS ?= 60
TARGET ?=

# Cargo tools that are installed from source when they are missing.
CARGO_DENY := 0.20.2
CARGO_HACK := 0.6.46
CARGO_FUZZ := 0.13.2
# Run from its Go module by `make lint-scripts`.
ACTIONLINT := v1.7.12

.DEFAULT_GOAL := help
.PHONY: help setup setup-demo demo test check-manifests image check-image e2e pictures terminal-picture lint lint-format \
        lint-code lint-docs lint-scripts powerset msrv deny audit sim model chaos fuzz bench bench-decision bench-idle \
        bench-net owner clean

# $(call install-cargo-tool,NAME,VERSION) installs the cargo subcommand NAME if it is missing.
define install-cargo-tool
@command -v cargo-$1 >/dev/null || { echo 'installing cargo-$1, which takes a few minutes' >&2; \
  $(CARGO) install -q --locked cargo-$1@$2; }
endef

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup-demo: ## Install what the demo needs and is missing: a linker and iperf3
	@scripts/setup.sh cc iperf3

setup: ## Install what the tests need and is missing
	@scripts/setup.sh cc iperf3 promtool nft ip tc unshare

demo: setup-demo ## Measure a mesh of four nodes on this machine; ARGS="..." is appended
	@$(CARGO) run $(LOCKED) -p iperf3-mesh -- local --nodes 4 --duration 1s --sweeps 1 $(ARGS)

# Tests in network namespaces use root or sudo, or say what is missing.
test: setup ## Run all tests, or those of one crate: PACKAGE=iperf3-mesh-core
	@$(CARGO) test $(LOCKED) $(if $(PACKAGE),-p $(PACKAGE),--workspace) --all-features --no-fail-fast $(ARGS)

check-manifests: ## Check manifests, alerts and dashboards with kubectl, promtool, Prometheus and the agent
	@scripts/setup.sh cc iperf3 python3 promtool prometheus
	@$(CARGO) build -q $(LOCKED) -p iperf3-mesh
	@scripts/check-manifests.sh $${CARGO_TARGET_DIR:-target}/debug/iperf3-mesh

image: ## Build the image with docker, also as target/image.tar; ARGS="--no-cache" is passed to docker build
	@scripts/with-docker.sh scripts/image.sh $(ARGS)

check-image: image ## Build the image, check its contents, and let two containers measure each other
	@scripts/setup.sh python3
	@scripts/with-docker.sh "$$(scripts/python.sh)" tests/image/image_test.py

# Only values given on the command line count: KUBECONFIG of the environment may be that of a cluster in use.
given = $(if $(filter command,$(firstword $(origin $1))),$($1))

e2e: ## Test on a real Kubernetes cluster, built here or given: KUBECONFIG=FILE IMAGE=NAME:TAG
	@scripts/setup.sh python3 curl openssl go ip tc
	@$(if $(call given,KUBECONFIG),,"$$(scripts/python.sh)" tests/e2e/cluster check)
	@$(if $(call given,KUBECONFIG)$(call given,IMAGE),,$(MAKE) --no-print-directory image)
	@"$$(scripts/python.sh)" tests/e2e/run.py --image "$(or $(call given,IMAGE),target/image.tar)" \
	  $(if $(ONLY),--only $(ONLY)) $(if $(call given,KUBECONFIG),--kubeconfig "$(KUBECONFIG)")

pictures: ## Draw and check the dashboards with Grafana's components, and renew their pictures in docs/images
	@scripts/setup.sh cc iperf3 python3 prometheus nft ip tc unshare node npm chromium
	@$(CARGO) build -q $(LOCKED) -p iperf3-mesh
	@scripts/pictures.sh $${CARGO_TARGET_DIR:-target}/debug/iperf3-mesh

terminal-picture: setup-demo ## Renew docs/images/terminal.svg from a real run of the demo
	@scripts/setup.sh python3
	@$(CARGO) build -q $(LOCKED) -p iperf3-mesh
	@scripts/terminal_picture.py $${CARGO_TARGET_DIR:-target}/debug/iperf3-mesh docs/images/terminal.svg

lint: lint-format lint-code lint-docs ## Check formatting, lints and documentation

lint-format: ## Check formatting
	@$(CARGO) fmt --all --check
	@$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

lint-code: ## Run clippy, with warnings as errors
	@$(CARGO) clippy $(LOCKED) --workspace --all-targets --all-features -- -D warnings
	@$(CARGO) clippy $(LOCKED) -p iperf3-mesh-core --no-default-features -- -D warnings
	@$(CARGO) clippy $(LOCKED) -p iperf3-mesh-core --no-default-features --all-targets -- -D warnings

lint-docs: ## Build the documentation, with warnings as errors
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q $(LOCKED) --workspace --all-features --no-deps

lint-scripts: ## Check shell scripts and workflows with shellcheck and actionlint
	@scripts/setup.sh shellcheck go
	@shellcheck --severity=warning scripts/*.sh .ci/run
	@go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)

powerset: ## Check iperf3-mesh-core with every combination of its features
	$(call install-cargo-tool,hack,$(CARGO_HACK))
	@$(CARGO) hack clippy $(LOCKED) -p iperf3-mesh-core --feature-powerset --exclude-features default -- -D warnings

msrv: ## Check everything and build the agent with the oldest supported Rust, the rust-version of Cargo.toml
	@scripts/msrv.sh

deny: ## Check licences, sources and duplicates of all dependencies
	$(call install-cargo-tool,deny,$(CARGO_DENY))
	@$(CARGO) deny $(LOCKED) check licenses bans sources
	@scripts/vendor-chitchat.sh --check

audit: deny ## Also check for known vulnerabilities; needs github.com
	@$(CARGO) deny $(LOCKED) check advisories

sim: ## Simulate SEEDS=1000 meshes under storms of faults; SEEDS=4711..4712 prints the events of one
	@$(CARGO) run -q --release $(LOCKED) -p iperf3-mesh-core --no-default-features --features sim --example storms -- $(SEEDS)

model: ## Explore every order of events for a few nodes, deeper than the tests do; takes minutes
	@$(CARGO) test -q --release $(LOCKED) -p iperf3-mesh-core --no-default-features --features flaws --lib model::table -- \
	  --ignored --nocapture --test-threads 1 $(ARGS)

chaos: setup ## Kill, freeze, cut off and restart real agents, seeds 1 to 3, or ARGS="--seed 7"; takes minutes
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench chaos -- $(ARGS)

fuzz: ## Fuzz each parser of bytes from outside for SECONDS=60, or one of them: TARGET=wire_message
	@scripts/setup.sh c++
	$(call install-cargo-tool,fuzz,$(CARGO_FUZZ))
	@scripts/fuzz.sh $(SECONDS) $(TARGET)

bench-net: setup ## Compare meshes of 7, 8 and 9 real agents with the lower bound of a sweep; takes minutes
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench net -- $(ARGS)

bench-idle: setup ## Measure the cost of an agent between two sweeps
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench idle

bench-decision: ## Measure time and memory of the coordinator with 10 to 10,000 nodes
	@$(CARGO) bench $(LOCKED) -q -p iperf3-mesh-core --no-default-features --bench memory
	@$(CARGO) bench $(LOCKED) -q -p iperf3-mesh-core --no-default-features --bench decision -- $(ARGS)

bench: bench-decision bench-idle bench-net ## Run all benchmarks

owner: ## Set the GitHub owner in image names and links: OWNER=your-organisation
	@scripts/set-owner.sh "$(OWNER)"

clean: ## Remove all build output
	@$(CARGO) clean -q
