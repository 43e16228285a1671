# Everything a person does here, one line each. `make` lists it.

TARGET := x86_64-unknown-linux-gnu
BUILT  := target/$(TARGET)/release/kiln

.DEFAULT_GOAL := help
.PHONY: help images test lint check unit boot setup clean FORCE
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z/]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

images: bin/kiln ## Build the three role images of the quickstart into out/
	bin/kiln lock --repair
	bin/kiln build

test: setup lint unit boot ## Everything that CI runs: lints, tests, images, boots

bin/kiln: FORCE ## Build the program: one static file
	cargo build --release --locked --bin kiln
	@cmp -s $(BUILT) $@ || install -D $(BUILT) $@

lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## All tests but the boots
	cargo test --workspace --locked -- --skip boot::

boot: images ## Boot every role's image in QEMU and check it
	cargo test --locked --test kiln -- --nocapture boot::

check: bin/kiln ## Check cluster.yaml, profiles, overlays and templates
	bin/kiln check

setup: ## Install what the tests use, or say what is missing
	@.ci/setup

clean: ## Remove what was built here; the cache of downloads stays
	rm -rf bin out target

FORCE:
