# Everything a person does here, one line each. `make` lists it.

TARGET := x86_64-unknown-linux-gnu
BUILT  := target/$(TARGET)/release/kiln

.DEFAULT_GOAL := help
.PHONY: help images kubernetes test lint check unit boot bench setup clean FORCE
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z/]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

images: bin/kiln ## Build the three role images of the quickstart into out/
	bin/kiln lock --repair
	bin/kiln build

kubernetes: ## Build Kubernetes 1.20.2 from Debian's sources, to try Kiln with; not for production
	@tools/kubernetes/build

test: setup lint unit boot ## Everything that CI runs: lints, tests, images, boots

bin/kiln: FORCE ## Build the program: one static file
	cargo build --release --locked --bin kiln
	@cmp -s $(BUILT) $@ || install -D $(BUILT) $@

lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

# Tests run as the program is built for people: optimized, and with one build of the dependencies.
unit: ## All tests that need no image
	cargo test --release --workspace --locked --lib --bins
	cargo test --release --workspace --locked --test kiln -- --skip boot:: --skip images::

boot: images ## Judge every role's image with foreign tools, boot it in QEMU and check it
	cargo test --release --workspace --locked --test kiln -- --nocapture images:: boot::

bench: images ## Ratios: whole builds, and the squashfs writer against mksquashfs
	cargo bench --locked --bench build
	cargo bench --locked --bench squashfs

check: bin/kiln ## Check cluster.yaml, profiles, overlays and templates
	bin/kiln check

setup: ## Install what the tests use, or say what is missing
	@.ci/setup

clean: ## Remove what was built here; the cache of downloads stays
	rm -rf bin out target

FORCE:
