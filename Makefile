# Two commands do everything on a fresh Debian 12 or Ubuntu 24.04 with Rust:
#
#   make demo    builds ncfs and shows it, with a small server of its own; Ctrl-C ends it
#   make test    all that the continuous integration checks
#
# Both begin with `make setup`, which installs what is missing and nothing else. Root's rights are
# taken through sudo where they are needed.
#
# To search longer for a history of faults, crashes and other clients that loses something:
#
#   make soak    for SOAK_SECONDS=60, and says how many it tried; SOAK_SEED repeats a search
#
# To install it, from source or as a package:
#
#   make build && sudo make install      make uninstall undoes it; PREFIX and DESTDIR are honoured
#   make deb                             then apt install what it names
#
# To read the documentation in a browser (it is in docs/):
#
#   make book

.PHONY: demo test soak setup setup-test build install uninstall deb book

# For ncfs demo, such as: make demo ARGS=/tmp/somewhere
ARGS ?=

SOAK_SECONDS ?= 60

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
UNITDIR ?= $(PREFIX)/lib/systemd/user
# mount(8) looks for its helpers nowhere else, whatever the prefix is. On a system with a /sbin of its
# own that is HELPERDIR=/sbin; an empty one leaves them out, so that no root is needed.
HELPERDIR ?= /usr/sbin
HELPERS = mount.ncfs mount.fuse.ncfs umount.ncfs umount.fuse.ncfs

# What is installed: the result of `make build`.
TARGET = $(or $(CARGO_TARGET_DIR),target)
NCFS ?= $(TARGET)/release/ncfs

demo: setup
	cargo run --release --locked --bin ncfs -- demo $(ARGS)

test: setup-test
	scripts/test

soak: setup
	SOAK_SECONDS=$(SOAK_SECONDS) cargo test --release --locked --package ncfs --lib -- \
	    --exact sync::simulation::soak::soak --ignored --nocapture

setup:
	scripts/setup

setup-test:
	scripts/setup test

build: setup
	cargo build --release --locked --bin ncfs

install:
	@[ -x "$(NCFS)" ] || { echo "$(NCFS) is not there; run first, not as root: make build" >&2; exit 1; }
	install -D -m 755 "$(NCFS)" "$(DESTDIR)$(BINDIR)/ncfs"
	"$(NCFS)" man "$(DESTDIR)$(MANDIR)"
	install -d "$(DESTDIR)$(BASHDIR)" "$(DESTDIR)$(ZSHDIR)" "$(DESTDIR)$(FISHDIR)" "$(DESTDIR)$(UNITDIR)"
	"$(NCFS)" completions bash > "$(DESTDIR)$(BASHDIR)/ncfs"
	"$(NCFS)" completions zsh > "$(DESTDIR)$(ZSHDIR)/_ncfs"
	"$(NCFS)" completions fish > "$(DESTDIR)$(FISHDIR)/ncfs.fish"
	sed 's|/usr/bin/ncfs|$(BINDIR)/ncfs|' packaging/ncfs@.service > "$(DESTDIR)$(UNITDIR)/ncfs@.service"
ifneq ($(HELPERDIR),)
	install -d "$(DESTDIR)$(HELPERDIR)"
	for helper in $(HELPERS); do \
	    ln -srf "$(DESTDIR)$(BINDIR)/ncfs" "$(DESTDIR)$(HELPERDIR)/$$helper" || exit 1; done
endif

uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/ncfs"
	rm -f "$(DESTDIR)$(MANDIR)"/man1/ncfs.1 "$(DESTDIR)$(MANDIR)"/man1/ncfs-*.1
	rm -f "$(DESTDIR)$(MANDIR)"/man8/mount.ncfs.8 "$(DESTDIR)$(MANDIR)"/man8/umount.ncfs.8
	rm -f "$(DESTDIR)$(BASHDIR)/ncfs" "$(DESTDIR)$(ZSHDIR)/_ncfs" "$(DESTDIR)$(FISHDIR)/ncfs.fish"
	rm -f "$(DESTDIR)$(UNITDIR)/ncfs@.service"
ifneq ($(HELPERDIR),)
	cd "$(DESTDIR)$(HELPERDIR)" && rm -f $(HELPERS)
endif

# The package holds what `make install` makes: Cargo.toml, package.metadata.deb, says what is where.
# Without --strip cargo-deb keeps the line tables that the release profile asks for.
deb: build
	scripts/setup deb
	rm -rf target/package
	$(MAKE) install DESTDIR=target/package PREFIX=/usr ZSHDIR=/usr/share/zsh/vendor-completions
	cargo deb --no-build --locked --strip

book:
	@command -v mdbook >/dev/null || { echo "mdbook is missing; get it once with: cargo install --locked mdbook (some minutes)" >&2; exit 1; }
	mdbook build
	@echo "The book begins at target/book/index.html"
