# Everything a person does here, one line each. `make` lists it.

TARGET := x86_64-unknown-linux-gnu
BUILT  := target/$(TARGET)/release/kiln

.DEFAULT_GOAL := help
.PHONY: help images kubernetes live machines test lint check unit boot test-cluster test-forms test-hardware test-serve test-power-cut test-publish test-random bench setup clean FORCE
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## List the targets
	@sed -n 's/^\([a-z/-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

images: bin/kiln kubernetes ## Build the three role images of the quickstart into out/
	$(call cluster,.,out)

# What the tests look at one by one: each role's machine alone, without Kubernetes; and what the
# roles leave out: an ssh server, and other answers to missing or wrong metadata.
machines: bin/kiln ## Build the images that the tests boot one by one
	bin/kiln -C tests/machines lock --repair
	bin/kiln -C tests/machines build --out ../../out/machines
	bin/kiln -C tests/trial lock --repair
	bin/kiln -C tests/trial build --out ../../out/trial

# A cluster in a workspace: its certificates, its lock, its images.
define cluster
	test -e $(1)/pki/kubernetes-ca.crt || bin/kiln -C $(1) pki init
	bin/kiln -C $(1) pki issue
	bin/kiln -C $(1) lock --repair
	bin/kiln -C $(1) build --out $(CURDIR)/$(2)
endef

kubernetes: ## Build Kubernetes 1.20.2 from Debian's sources, to try Kiln with; not for production
	@tools/kubernetes/build

test: setup lint unit boot ## Everything that CI runs: lints, tests, images, boots

bin/kiln: FORCE ## Build the program: one static file
	cargo build --release --locked --bin kiln
	@cmp -s $(BUILT) $@ || install -D $(BUILT) $@

# Lints and tests take the profile of the program that people get: one build of the dependencies.
lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings

unit: ## All tests that need no image
	cargo test --release --workspace --locked --lib --bins
	cargo test --release --workspace --locked --test kiln -- --skip boot:: --skip images:: --skip power_cut:: --skip cluster:: \
		--skip delivery:: --skip serve::load:: --skip serve::page:: --skip publish::stores::

# The filters also choose secrets::images and secrets::cluster: what is in an image and must not be.
boot: images machines ## Judge images with foreign tools, boot every role and two small clusters in QEMU
	$(call cluster,tests/static-pods,out/static-pods)
	cargo test --release --workspace --locked --test kiln -- --nocapture images:: boot:: cluster:: \
		--skip failover:: --skip hardware_boot::

test-hardware: bin/kiln ## Boot a server's image from every controller of QEMU, by UEFI and BIOS (a quarter of an hour)
	bin/kiln -C tests/hardware lock --repair
	bin/kiln -C tests/hardware build --format raw,iso --out ../../out/hardware
	cargo test --release --workspace --locked --test kiln -- --nocapture hardware_boot::

test-power-cut: machines ## Cut the power at 30 random moments of the first boot (an hour)
	cargo test --release --workspace --locked --test kiln -- --nocapture power_cut::

# The filters also choose secrets::cluster::failover: no image of a cluster with seeds has a secret.
test-cluster: bin/kiln kubernetes ## Boot a cluster of seven machines, of which some die (an hour)
	$(call cluster,tests/failover,out/failover)
	cargo test --release --workspace --locked --test kiln -- --nocapture failover::

live: bin/kiln machines
	bin/kiln -C tests/machines build lb --format raw,iso,netboot --out ../../out/live

test-forms: live target/python/firmware target/python/ovf ## Boot every form of an image, from discs, disks and the network (half an hour)
	@.ci/setup /usr/lib/ipxe/ipxe.lkrn=ipxe
	cargo test --release --workspace --locked --test kiln -- --nocapture delivery::

test-serve: ## A thousand machines at kiln serve, its page in a browser, its speed beside nginx (3 minutes)
	@.ci/setup chromium=chromium
	cargo test --release --locked --test kiln -- --nocapture serve::load:: serve::page::
	cargo bench --locked --bench serve

test-publish: target/python/moto ## Publish to Debian's registry and to an S3-compatible server, and pull back (a minute)
	cargo test --release --workspace --locked --test kiln -- --nocapture publish::

# Programs that are not ours and not in Debian; everything that they need is pinned.
target/python/%: tools/python/%.txt
	@python3 -c 'import ensurepip' 2>/dev/null || .ci/setup python3=python3 '/usr/lib*/python3*/ensurepip=python3-venv'
	rm -rf $@
	python3 -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

CASES := 20000
test-random: ## Long randomised runs over everything that reads what others wrote, in 1 GiB (10 minutes)
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='prlimit --data=1073741824 --' \
	PROPTEST_CASES=$(CASES) cargo test --release --workspace --locked --lib

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
