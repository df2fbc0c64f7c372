# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
PREFIX ?= /usr
LIBDIR ?= $(PREFIX)/lib64
DESTDIR ?=
CARGO ?= cargo
CC ?= gcc

# The loader looks for the library where `make install` puts it.
export LIBDIR

# What a bare Debian lacks: to build, and to test.
PACKAGES = gcc libc6-dev clang llvm libelf-dev zlib1g-dev pkg-config \
	strace linux-perf
# And to boot other kernels.
VM_PACKAGES = busybox-static cpio e2fsprogs kmod mmdebstrap xz-utils zstd

RELEASE = target/release
PROGRAMS = target/programs
OTHER_ABI = target/other-abi
CALLS = getpid gettid getuid getgid
CFLAGS_PROGRAMS = -std=gnu11 -O2 -Wall -Wextra -Werror -pthread
BRACKET = $(wildcard tests/programs/bracket/*.[ch]) tests/programs/real.h
SOAK = $(wildcard tests/programs/soak/*.[ch]) tests/programs/real.h \
	$(foreach part,check process,$(wildcard tests/programs/bracket/$(part).[ch]))

.DEFAULT_GOAL := build
.PHONY: build rust programs packages other-abi demo test soak check vm-test bench bench-apps install clean help

build: rust ## Build the loader and the library (the default)

rust: packages
	$(CARGO) build --release --locked --package bysyscall --package libbysyscall

# Installs only what is missing, so that it costs nothing and needs no root when nothing is.
packages:
	@if command -v dpkg-query >/dev/null; then \
		for package in $(PACKAGES); do \
			dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
		done; \
		if [ -n "$$missing" ]; then \
			echo "Installing:$$missing"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || { \
				echo "Cannot install:$$missing; do it by hand, as root" >&2; exit 1; }; \
		fi; \
	else \
		echo "No dpkg here; this build needs what Debian calls: $(PACKAGES)"; \
	fi

programs: rust $(CALLS:%=$(PROGRAMS)/%) $(CALLS:%=$(PROGRAMS)/%-wrapped) \
	$(PROGRAMS)/getpid-secure $(PROGRAMS)/bracket $(PROGRAMS)/soak $(PROGRAMS)/locked $(PROGRAMS)/own_gettid \
	$(PROGRAMS)/lying.so $(PROGRAMS)/empty.so

$(PROGRAMS):
	mkdir -p $@

$(CALLS:%=$(PROGRAMS)/%): $(PROGRAMS)/%: tests/programs/identity.c tests/programs/real.h | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) -DCALL=$* $< -o $@

$(CALLS:%=$(PROGRAMS)/%-wrapped): $(PROGRAMS)/%-wrapped: tests/programs/identity.c tests/programs/real.h | $(PROGRAMS) rust
	$(CC) $(CFLAGS_PROGRAMS) -DCALL=$* $< -o $@ -L$(RELEASE) -lbysyscall -Wl,--wrap=$* -Wl,-rpath,$(abspath $(RELEASE))

# For a set-uid program ld.so looks in no place that the environment names; this is where the tests put the library.
$(PROGRAMS)/getpid-secure: tests/programs/identity.c tests/programs/real.h | $(PROGRAMS) rust
	$(CC) $(CFLAGS_PROGRAMS) -DCALL=getpid $< -o $@ -L$(RELEASE) -lbysyscall -Wl,--wrap=getpid -Wl,-rpath,/run/under-test

$(PROGRAMS)/bracket: $(BRACKET) | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) $(filter %.c,$^) -o $@ -ldl

$(PROGRAMS)/soak: $(SOAK) | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) $(filter %.c,$^) -o $@

$(PROGRAMS)/locked $(PROGRAMS)/own_gettid: $(PROGRAMS)/%: tests/programs/%.c tests/programs/real.h | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) $< -o $@

$(PROGRAMS)/lying.so: tests/programs/lying.c | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) -shared -fPIC $< -o $@ -ldl

$(PROGRAMS)/empty.so: | $(PROGRAMS)
	$(CC) -shared -fPIC -x c /dev/null -o $@

# A loader and a library with another ABI version, for the tests of an upgrade. They are built from a
# copy, so that the sources know nothing of it; its header keeps its time, so that this builds once.
other-abi: packages
	mkdir -p $(OTHER_ABI)/source
	cp --archive Cargo.toml Cargo.lock bpf crates tests $(OTHER_ABI)/source
	awk '/define BYSYSCALL_ABI_VERSION/ { $$3 += 1 } 1' bpf/bysyscall.h >$(OTHER_ABI)/source/bpf/bysyscall.h
	touch --reference=bpf/bysyscall.h $(OTHER_ABI)/source/bpf/bysyscall.h
	$(CARGO) build --release --locked --manifest-path $(OTHER_ABI)/source/Cargo.toml --target-dir $(OTHER_ABI)/build \
		--package bysyscall --package libbysyscall
	install $(OTHER_ABI)/build/release/bysyscall $(OTHER_ABI)/build/release/libbysyscall.so $(OTHER_ABI)

demo: programs ## Show what it gains: getpid ten million times, without and with bysyscall (root)
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin demo
	@$(RELEASE)/demo

test: programs ## Run all tests (root)
	$(CARGO) test --release --locked

vm-test: PACKAGES += $(VM_PACKAGES)
vm-test: programs other-abi ## Run all tests in guests of Debian's kernels (root); KERNELS="6.1 6.12 7.2" TEST=name ARGS=--help
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin vm-test
	@$(RELEASE)/vm-test $(KERNELS) $(TEST:%=--test %) $(ARGS)

soak: programs ## Grow random process trees for SECONDS=1800, all answers bracketed; SEED=n repeats them; KERNELS=6.12: in guests (root)
ifdef KERNELS
	@$(MAKE) --no-print-directory vm-test ARGS="--soak $(or $(SECONDS),1800) $(SEED:%=--seed %)"
else
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin soak
	@$(RELEASE)/soak $(SECONDS:%=--seconds %) $(SEED:%=--seed %)
endif

check: packages ## Check formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --locked
	@# What `cargo test` must not run is in no "all targets".
	$(CARGO) clippy --release --package bysyscall-tests --test lab --locked

bench: programs ## Measure speed and cost, as ratios inside one run (root)
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin bench
	@$(RELEASE)/bench
	$(CARGO) bench --locked --package bysyscall-tests --bench wrappers

bench-apps: programs ## Measure real programs, without and with bysyscall (root)
	tests/apps/setup.sh
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin with-service
	@$(RELEASE)/with-service python3 tests/apps/bench_apps.py --library $(RELEASE)/libbysyscall.so

install: ## Install what has been built, below DESTDIR, with PREFIX and LIBDIR
	install -D -m 0755 $(RELEASE)/bysyscall $(DESTDIR)$(PREFIX)/sbin/bysyscall
	install -d $(DESTDIR)$(LIBDIR)
	@# By rename: processes have the old library mapped and die if it is written to.
	install -m 0755 $(RELEASE)/libbysyscall.so $(DESTDIR)$(LIBDIR)/libbysyscall.so.new
	mv -f $(DESTDIR)$(LIBDIR)/libbysyscall.so.new $(DESTDIR)$(LIBDIR)/libbysyscall.so

clean: ## Remove what has been built
	$(CARGO) clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
