# Thin on purpose: the logic is in xtask (Rust) and in `kontiki` itself. `make help` lists the targets.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kontiki
KEY := $(shell rustc --version | cut -d' ' -f2)-$(shell sha256sum Cargo.lock | cut -c1-12)
# Shared by all clones on this machine, so that a fresh clone builds only its own crates. When the lock file or the compiler
# changed, the newest folder is taken over under the new name: cargo rebuilds in it what the change touches.
ifndef CARGO_TARGET_DIR
export CARGO_TARGET_DIR := $(CACHE)/target-$(KEY)
$(shell mkdir -p $(CACHE); test -d $(CARGO_TARGET_DIR) || mv -T "$$(ls -dt $(CACHE)/target-* 2>/dev/null | head -n 1)" $(CARGO_TARGET_DIR) 2>/dev/null)
endif
XTASK := cargo run --quiet --locked --package xtask --

.PHONY: help up up-ha ha-restart down build test verify fix chaos bench deny fuzz setup replay

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

up: ## install what is missing, build, start a one-machine cluster below .kontiki/
	@$(XTASK) up

up-ha: ## build, start three servers and two agents on this machine below .kontiki/ha/ (without root: three servers)
	@$(XTASK) up-ha

ha-restart: ## start a killed one of them again: make ha-restart NAME=server-1
	@$(XTASK) ha-restart $(NAME)

down: ## stop whatever `make up…` started and remove its containers; the cluster's objects stay
	@$(XTASK) down

build: ## the release binary, at bin/kontiki
	@$(XTASK) build

test: ## every test, end-to-end ones included
	@$(XTASK) test

replay: ## recorded requests of a real API server against this one, where ../shared has them
	@$(XTASK) replay

verify: ## formatting, tidy, clippy with warnings denied; changes no source
	@$(XTASK) verify

fix: ## format, apply clippy's fixes
	@$(XTASK) fix

chaos: ## the simulation (1,000 seeds from SEED=n, or the day's) and the faults on real processes in their long form
	@$(XTASK) chaos $(if $(SEED),--seed $(SEED))

bench: ## latencies, rates and sizes, beside etcd, runc and crun; ONLY=api|log|start|pods|containers for a part, BUILT=1 without building
	@$(XTASK) bench $(if $(ONLY),--only $(ONLY)) $(if $(BUILT),--built)

fuzz: ## each fuzz target for a while, 60 seconds if not SECONDS=n, or RUNS=n inputs that are the same each time (installs cargo-fuzz if absent)
	@$(XTASK) fuzz $(if $(RUNS),--runs $(RUNS),$(if $(SECONDS),--seconds $(SECONDS)))

deny: ## licences, sources and duplicates of the dependencies (installs cargo-deny if absent)
	@$(XTASK) deny

setup: ## only the Debian packages, with what each is for
	@$(XTASK) setup
