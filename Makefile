# `make help` lists the tasks. As root or with sudo, missing packages get installed and the root-only
# tests run too; compiling and filling is always done as the user who owns this checkout.

PREFIX  ?= /usr/local
OWNER   := scripts/as-owner

# Not `:=`: asked only when something is built, for then scripts/setup has seen that rustc is there.
TARGET   = $(shell $(OWNER) scripts/target)
CARGO    = $(OWNER) cargo build --release --locked --package minibox --target $(TARGET) \
           --config 'target.$(TARGET).rustflags = ["-Ctarget-feature=+crt-static"]'
export MINIBOX_COMMIT = $(shell git rev-parse --short HEAD 2>/dev/null)
unexport RUSTFLAGS # it would replace the flags above

.PHONY: help demo build install uninstall deb rpm rootfs distro-rootfs \
        test test-full test-guest conformance bench lint fmt docs check dist clean setup setup-test guard stage docs-same
.DEFAULT_GOAL := help

help: ## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: build rootfs ## see it work: a container that loops for three seconds
	./minibox run ./rootfs python while_loop.py 3

build: setup ## compile minibox, one static binary, to ./minibox
	@$(CARGO)
	@$(OWNER) ln -sfn target/$(TARGET)/release/minibox minibox

install: stage ## put it below /usr/local, or PREFIX=$HOME/.local
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install

uninstall: ## take it away again
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install --remove

deb: stage ## pack a Debian package into target/dist
	@$(OWNER) scripts/deb target/stage target/dist

rpm: stage ## pack an RPM package into target/dist
	@$(OWNER) scripts/rpm target/stage target/dist

rootfs: setup ## fill ./rootfs from this machine's python and tools
	@$(OWNER) python3 rootfs/fill

distro-rootfs: ## make ./rootfs-debian or the like, a whole small distribution (root)
	@rootfs/distro

test: setup-test build guard rootfs ## run every test that you can run (sudo: more)
	@scripts/test

test-full: export MINIBOX_TEST_FULL = 1
test-full: test ## the same with the long sweeps

test-guest: setup-test build guard rootfs ## only those that run in a guest machine: cgroup v2, systemd
	@tests/guest/run

conformance: build ## run another project's tests: SUITE=runc|runtime-tools DIR=its checkout (root)
	@scripts/conformance "$(SUITE)" "$(DIR)"

bench: build rootfs ## measure beside crun, runc, bwrap and top, where they are installed (root)
	@scripts/bench

lint: setup ## formatting, clippy, shellcheck, licences
	@scripts/lint

fmt: ## format the sources
	$(OWNER) cargo fmt --all

docs: build ## write docs/steps.md and docs/docker-compat.md anew
	$(OWNER) sh -c './minibox steps --format markdown > docs/steps.md'
	$(OWNER) env MINIBOX_WRITE_DOCS=1 cargo test --quiet --locked --package minibox-tests --test compat the_document

check: setup-test lint docs-same test ## all that CI checks

dist: stage ## pack a release archive into target/dist
	@$(OWNER) scripts/dist

clean: ## remove what was built and filled in
	$(OWNER) python3 rootfs/fill --empty
	$(OWNER) rm -rf target minibox

# Steps of the tasks above.
setup:
	@scripts/setup build

setup-test:
	@scripts/setup test

# The binary with its manual, completions and units, as they lie below a prefix.
stage: build
	@$(OWNER) scripts/stage minibox target/stage

# A second build for the tests: it aborts when the child of clone3 allocates, and fails where told to.
guard: setup
	@$(CARGO) --features trial --target-dir target/trial
	@$(OWNER) ln -sfn trial/$(TARGET)/release/minibox target/minibox-guard

docs-same: build
	@./minibox steps --format markdown | diff -u docs/steps.md - || \
		{ echo "docs/steps.md is old: run make docs" >&2; exit 1; }
