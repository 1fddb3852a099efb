# Everything here is a few commands that can be typed by hand. `make` alone tells what there is.

CARGO ?= cargo
# Cargo.lock is what was tested.
LOCKED := --locked
# Appended to the command that a target runs: make demo ARGS="--nodes 8"
ARGS ?=
# How many, or which, storms `make sim` simulates.
SEEDS ?= 1000
# What `make deny` installs where there is none.
CARGO_DENY := 0.20.2
# What `make lint-scripts` runs out of Go's modules.
ACTIONLINT := v1.7.12

.DEFAULT_GOAL := help
.PHONY: help setup setup-demo demo test check-manifests image check-image e2e pictures lint lint-scripts deny audit sim \
        model chaos bench bench-decision bench-idle bench-net clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup-demo: ## Install what the demo needs, if it is missing: a linker and iperf3
	@scripts/setup.sh cc iperf3

setup: ## Install what the tests need, if it is missing
	@scripts/setup.sh cc iperf3 promtool nft ip tc unshare

demo: setup-demo ## Measure a mesh of four nodes on this machine; ARGS="..." is appended
	@$(CARGO) run $(LOCKED) -p iperf3-mesh -- local --nodes 4 --duration 1s --sweeps 1 $(ARGS)

test: setup ## Run all tests; those in network namespaces get the right to make them, or say what is missing
	@$(CARGO) test $(LOCKED) --workspace --all-features --no-fail-fast $(ARGS)

check-manifests: ## Check manifests, alerts and dashboards against the agent, with real kubectl, promtool and Prometheus
	@scripts/setup.sh cc iperf3 python3 promtool prometheus
	@$(CARGO) build -q $(LOCKED) -p iperf3-mesh
	@scripts/check-manifests.sh $${CARGO_TARGET_DIR:-target}/debug/iperf3-mesh

image: ## Build the image with docker, also as target/image.tar; ARGS="--no-cache" and the like is passed on
	@scripts/with-docker.sh scripts/image.sh $(ARGS)

check-image: image ## Check what is in it, and let two agents in it measure each other
	@scripts/setup.sh python3
	@scripts/with-docker.sh "$$(scripts/python.sh)" tests/image/image_test.py

# A kubeconfig of the environment may be that of a cluster in use: only what was given to make itself is taken.
given = $(if $(filter command,$(firstword $(origin $1))),$($1))

e2e: ## Show all on a real Kubernetes, built here; or, on one for tests, KUBECONFIG=FILE IMAGE=NAME:TAG
	@scripts/setup.sh python3 curl openssl go ip tc
	@$(if $(call given,KUBECONFIG),,"$$(scripts/python.sh)" tests/e2e/cluster check)
	@$(if $(call given,KUBECONFIG)$(call given,IMAGE),,$(MAKE) --no-print-directory image)
	@"$$(scripts/python.sh)" tests/e2e/run.py --image "$(or $(call given,IMAGE),target/image.tar)" \
	  $(if $(ONLY),--only $(ONLY)) $(if $(call given,KUBECONFIG),--kubeconfig "$(KUBECONFIG)")

pictures: ## Draw the dashboards from a real mesh with Grafana's components, check them, renew the pictures of the docs
	@scripts/setup.sh cc iperf3 python3 prometheus nft ip tc unshare node npm chromium
	@$(CARGO) build -q $(LOCKED) -p iperf3-mesh
	@scripts/pictures.sh $${CARGO_TARGET_DIR:-target}/debug/iperf3-mesh

model: ## Explore every order of events for a few nodes, more of them than the tests do, for minutes
	@$(CARGO) test -q --release $(LOCKED) -p iperf3-mesh-core --no-default-features --features flaws --lib model::table -- \
	  --ignored --nocapture --test-threads 1 $(ARGS)

lint: ## Check format, lints and documentation
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy $(LOCKED) --workspace --all-targets --all-features -- -D warnings
	@$(CARGO) clippy $(LOCKED) -p iperf3-mesh-core --no-default-features --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc -q $(LOCKED) --workspace --all-features --no-deps

lint-scripts: ## Check shell scripts and workflows, with shellcheck and actionlint
	@scripts/setup.sh shellcheck go
	@shellcheck --severity=warning scripts/*.sh .ci/run
	@go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT)

deny: ## Check licences, sources and duplicates of all dependencies
	@command -v cargo-deny >/dev/null || { echo 'deny: installing cargo-deny, which takes minutes' >&2; \
	  $(CARGO) install -q --locked cargo-deny@$(CARGO_DENY); }
	@$(CARGO) deny $(LOCKED) check licenses bans sources

audit: deny ## Check them for known vulnerabilities, too; needs github.com
	@$(CARGO) deny $(LOCKED) check advisories

sim: ## Send SEEDS=1000 simulated meshes through storms; SEEDS=4711..4712 tells what happened in one
	@$(CARGO) run -q --release $(LOCKED) -p iperf3-mesh-core --no-default-features --features sim --example storms -- $(SEEDS)

bench-net: setup ## Measure meshes of 8, 7 and 9 agents in network namespaces against the bound, for minutes
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench net -- $(ARGS)

bench-idle: setup ## Measure what an agent costs between two sweeps
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench idle

bench-decision: ## Measure what one decision costs, and what a node remembers, with 10 to 10,000 nodes
	@$(CARGO) bench $(LOCKED) -q -p iperf3-mesh-core --no-default-features --bench memory
	@$(CARGO) bench $(LOCKED) -q -p iperf3-mesh-core --no-default-features --bench decision -- $(ARGS)

chaos: setup ## Kill, freeze, cut off and restart real agents for minutes (seeds 1, 2, 3), then judge; ARGS="--seed 7"
	@$(CARGO) bench $(LOCKED) -p iperf3-mesh --bench chaos -- $(ARGS)

bench: bench-decision bench-idle bench-net ## Run all benches

clean: ## Remove everything that was built
	@$(CARGO) clean -q
