# SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
PREFIX ?= /usr
LIBDIR ?= $(PREFIX)/lib64
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
DESTDIR ?=
CARGO ?= cargo
CC ?= gcc

# The loader looks for the library where `make install` puts it.
export LIBDIR

# What a bare Debian lacks: to build, and to test.
PACKAGES = gcc libc6-dev clang llvm libelf-dev zlib1g-dev pkg-config \
	strace linux-perf mandoc
# To build and judge packages.
PACKAGE_PACKAGES = busybox-static createrepo-c debhelper dnf dpkg-dev lintian rpm rpmlint systemd
# And to boot other kernels.
VM_PACKAGES = busybox-static cpio e2fsprogs kmod mmdebstrap xz-utils zstd

RELEASE = target/release
# What is linked statically is built apart, or the next build of all would replace it.
STATIC = target/static/release
CRT_STATIC = -C target-feature=+crt-static
# Packages are built apart: stripped, and without the paths of this machine, so that each build gives the same bytes.
PACKAGE = target/package
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
CARGO_HOME ?= $(HOME)/.cargo
PROGRAMS = target/programs
OTHER_ABI = target/other-abi
CALLS = getpid gettid getuid getgid
CFLAGS_PROGRAMS = -std=gnu11 -O2 -Wall -Wextra -Werror -pthread
BRACKET = $(wildcard tests/programs/bracket/*.[ch]) tests/programs/real.h
CLOCKS = $(wildcard tests/programs/clocks/*.[ch]) tests/programs/real.h
SOAK = $(wildcard tests/programs/soak/*.[ch]) tests/programs/real.h \
	$(foreach part,check process,$(wildcard tests/programs/bracket/$(part).[ch]))

.DEFAULT_GOAL := build
.PHONY: build rust programs packages other-abi demo test soak check vm-test bench bench-apps fuzz install install-dev \
	package-build package-install package-tools deb rpm dist rpmbuild package-check package-test clean help

build: rust ## Build the loader and the library (the default)

rust: packages
	$(CARGO) build --release --locked --package bysyscall --package libbysyscall
	$(CARGO) rustc --release --locked --target-dir target/static --package bysyscall-rescue -- $(CRT_STATIC)

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
	$(PROGRAMS)/getpid-secure $(PROGRAMS)/bracket $(PROGRAMS)/soak $(PROGRAMS)/clocks $(PROGRAMS)/locked $(PROGRAMS)/no_tsc $(PROGRAMS)/no_vdso $(PROGRAMS)/own_gettid $(PROGRAMS)/steps $(PROGRAMS)/witness $(PROGRAMS)/early_thread \
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

$(PROGRAMS)/clocks: $(CLOCKS) | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) $(filter %.c,$^) -o $@ -ldl

$(PROGRAMS)/locked $(PROGRAMS)/no_tsc $(PROGRAMS)/no_vdso $(PROGRAMS)/own_gettid $(PROGRAMS)/steps $(PROGRAMS)/witness $(PROGRAMS)/early_thread: $(PROGRAMS)/%: tests/programs/%.c tests/programs/real.h | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) $< -o $@

$(PROGRAMS)/lying.so: tests/programs/lying.c | $(PROGRAMS)
	$(CC) $(CFLAGS_PROGRAMS) -shared -fPIC $< -o $@ -ldl

$(PROGRAMS)/empty.so: | $(PROGRAMS)
	$(CC) -shared -fPIC -x c /dev/null -o $@

# A loader and a library with another ABI version, for the tests of an upgrade. They are built from a
# copy, so that the sources know nothing of it; its header keeps its time, so that this builds once.
other-abi: packages
	rm -rf $(OTHER_ABI)/source
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
	$(CARGO) clippy --release --package bysyscall-tests --test lab --test packages --test machine --locked

bench: programs ## Measure speed and cost, as ratios inside one run (root)
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin bench
	@$(RELEASE)/bench
	$(CARGO) bench --locked --package bysyscall-tests --bench wrappers

bench-apps: programs ## Measure real programs, without and with bysyscall (root); ARGS=--help
	tests/apps/setup.sh
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin with-service
	@$(RELEASE)/with-service python3 tests/apps/bench_apps.py --library $(RELEASE)/libbysyscall.so $(ARGS)

fuzz: ## Feed RUNS=10000000 random inputs to each parser
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --quiet --locked cargo-fuzz
	@# What guides it is an option of rustc that is not stable. All is safe code, so no sanitizer is needed.
	for target in $$(RUSTC_BOOTSTRAP=1 $(CARGO) fuzz list --fuzz-dir tests/fuzz); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none --fuzz-dir tests/fuzz $$target -- -runs=$(or $(RUNS),10000000) -max_len=128 || exit 1; \
	done

install: ## Install what has been built, below DESTDIR, with PREFIX and LIBDIR
	install -D -m 0755 $(RELEASE)/bysyscall $(DESTDIR)$(PREFIX)/sbin/bysyscall
	ln -sf bysyscall $(DESTDIR)$(PREFIX)/sbin/bysyscall-enable
	ln -sf bysyscall $(DESTDIR)$(PREFIX)/sbin/bysyscall-disable
	install -m 0755 $(STATIC)/bysyscall-rescue $(DESTDIR)$(PREFIX)/sbin/bysyscall-rescue
	install -d $(DESTDIR)$(LIBDIR)
	@# By rename: processes have the old library mapped and die if it is written to.
	install -m 0644 $(RELEASE)/libbysyscall.so $(DESTDIR)$(LIBDIR)/libbysyscall.so.new
	mv -f $(DESTDIR)$(LIBDIR)/libbysyscall.so.new $(DESTDIR)$(LIBDIR)/libbysyscall.so
	@# What the administrator has written stays.
	test -e $(DESTDIR)$(SYSCONFDIR)/bysyscall.conf || install -D -m 0644 etc/bysyscall.conf $(DESTDIR)$(SYSCONFDIR)/bysyscall.conf
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(MANDIR)/man8
	sed 's,/usr/sbin/,$(PREFIX)/sbin/,' systemd/bysyscall.service >$(DESTDIR)$(UNITDIR)/bysyscall.service
	install -m 0644 man/bysyscall.conf.5 $(DESTDIR)$(MANDIR)/man5
	install -m 0644 man/libbysyscall.7 $(DESTDIR)$(MANDIR)/man7
	install -m 0644 man/bysyscall.8 man/bysyscall-enable.8 $(DESTDIR)$(MANDIR)/man8
	for name in disable rescue; do echo '.so man8/bysyscall-enable.8' >$(DESTDIR)$(MANDIR)/man8/bysyscall-$$name.8 || exit 1; done
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	for name in bysyscall bysyscall-enable bysyscall-disable; do \
		$(RELEASE)/bysyscall completions bash $$name >$(DESTDIR)$(BASHDIR)/$$name && \
		$(RELEASE)/bysyscall completions zsh $$name >$(DESTDIR)$(ZSHDIR)/_$$name && \
		$(RELEASE)/bysyscall completions fish $$name >$(DESTDIR)$(FISHDIR)/$$name.fish || exit 1; \
	done

install-dev: ## Install what it takes to link programs with -lbysyscall
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	sed 's,@PREFIX@,$(PREFIX),; s,@LIBDIR@,$(LIBDIR),; s,@VERSION@,$(VERSION),' crates/libbysyscall/bysyscall.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/bysyscall.pc

# The source archive has all crates, and then the network is not asked for any.
VENDORED = $(if $(wildcard vendor),--offline --config 'source.crates-io.replace-with="vendored"' --config 'source.vendored.directory="vendor"')

# Wherever this is, and wherever cargo keeps its sources, they have one name in what is built.
package-build:
	$(CARGO) $(VENDORED) fetch --locked
	@remap="--remap-path-prefix=$(CURDIR)=/usr/src/bysyscall"; \
	for sources in $(CARGO_HOME)/registry/src/*; do remap="$$remap --remap-path-prefix=$$sources=/usr/src/cargo"; done; \
	export LIBDIR=/usr/lib64 RUSTFLAGS="$$remap" CARGO_PROFILE_RELEASE_STRIP=symbols; \
	$(CARGO) $(VENDORED) build --release --locked --target-dir $(PACKAGE) --package bysyscall --package libbysyscall && \
	$(CARGO) $(VENDORED) rustc --release --locked --target-dir $(PACKAGE)/static --package bysyscall-rescue -- $(CRT_STATIC)
	@# rustc leaves a library its symbols.
	llvm-strip --strip-unneeded $(PACKAGE)/release/libbysyscall.so

package-install:
	umask 022 && $(MAKE) --no-print-directory install install-dev RELEASE=$(PACKAGE)/release STATIC=$(PACKAGE)/static/release

deb rpm rpmbuild package-check package-test: PACKAGES += $(PACKAGE_PACKAGES)
deb rpm: export CARGO_TARGET_DIR = $(abspath $(PACKAGE))
# All that is packaged is as old as the changelog.
deb rpm dist: export SOURCE_DATE_EPOCH = $(shell dpkg-parsechangelog --show-field Timestamp)
deb: export CARGO_PROFILE_RELEASE_STRIP = symbols

deb: packages package-tools package-build ## Build Debian packages, in target/package/debian
	rm -rf $(PACKAGE)/root-debian $(PACKAGE)/debian
	$(MAKE) --no-print-directory package-install DESTDIR=$(PACKAGE)/root-debian \
		LIBDIR=/usr/lib/x86_64-linux-gnu ZSHDIR=/usr/share/zsh/vendor-completions
	install -d $(PACKAGE)/root-debian/usr/share/doc/bysyscall
	gzip -9n <debian/changelog >$(PACKAGE)/root-debian/usr/share/doc/bysyscall/changelog.gz
	$(CARGO) deb --no-build --locked --package bysyscall --output $(PACKAGE)/debian/
	$(CARGO) deb --no-build --locked --package libbysyscall --output $(PACKAGE)/debian/

rpm: packages package-tools package-build ## Build rpm packages, in target/package/generate-rpm
	rm -rf $(PACKAGE)/root-rpm $(PACKAGE)/generate-rpm
	$(MAKE) --no-print-directory package-install DESTDIR=$(PACKAGE)/root-rpm LIBDIR=/usr/lib64
	gzip -9n $(PACKAGE)/root-rpm/usr/share/man/man*/*
	@# The tool packages no links.
	for verb in enable disable; do \
		rm $(PACKAGE)/root-rpm/usr/sbin/bysyscall-$$verb && \
		printf '#!/bin/sh\nexec /usr/sbin/bysyscall %s "$$@"\n' $$verb >$(PACKAGE)/root-rpm/usr/sbin/bysyscall-$$verb || exit 1; \
	done
	mkdir -p $(PACKAGE)/generate-rpm
	$(CARGO) generate-rpm --package crates/bysyscall --output $(PACKAGE)/generate-rpm/
	$(CARGO) generate-rpm --package crates/libbysyscall --output $(PACKAGE)/generate-rpm/

DIST = $(PACKAGE)/dist/bysyscall-$(VERSION)

dist: ## Make the source archive, target/package/dist/bysyscall-VERSION.tar.xz, from which packages are built without network
	rm -rf $(PACKAGE)/dist
	mkdir -p $(DIST)
	tar --create --exclude=./.git --exclude=./target --exclude=./tests/fuzz/target . | tar --extract --directory=$(DIST)
	test -d vendor || $(CARGO) vendor --locked --quiet --manifest-path $(DIST)/Cargo.toml $(DIST)/vendor >/dev/null
	XZ_OPT=-T2 tar --create --xz --sort=name --mtime=@$$SOURCE_DATE_EPOCH --owner=0 --group=0 --numeric-owner \
		--directory=$(PACKAGE)/dist --file=$(DIST).tar.xz bysyscall-$(VERSION)

# The same from the spec file, as distributions do; in target/package/rpmbuild.
rpmbuild: packages dist
	rm -rf $(PACKAGE)/rpmbuild
	mkdir -p $(PACKAGE)/rpmbuild/SOURCES
	cp $(DIST).tar.xz $(PACKAGE)/rpmbuild/SOURCES
	rpmbuild -ba --define '_topdir $(abspath $(PACKAGE))/rpmbuild' rpm/bysyscall.spec

# Once, with the toolchain's own programs.
package-tools:
	@$(CARGO) deb --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deb --version '~3.8'
	@$(CARGO) generate-rpm --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-generate-rpm --version '~0.21'

package-check: programs deb rpm ## Look at the packages, run their scripts, install the rpm below a directory (root)
	$(CARGO) test --release --locked --package bysyscall-tests --test packages

package-test: PACKAGES += $(VM_PACKAGES)
package-test: package-check other-abi ## The same, then install, upgrade and remove them in guests (root); KERNELS="6.1 6.12 7.2" CUTS=100 SEED=n
	@$(CARGO) build --release --locked --quiet --package bysyscall-tests --bin vm-test
	@$(RELEASE)/vm-test --packages $(CUTS:%=--cuts %) $(SEED:%=--seed %) $(KERNELS)

clean: ## Remove what has been built
	$(CARGO) clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
