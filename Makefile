# Two commands do everything on a fresh Debian 12 or Ubuntu 24.04 with Rust:
#
#   make demo    builds ncfs and shows it, with a small server of its own; Ctrl-C ends it
#   make test    all that the continuous integration checks
#
# Both begin with `make setup`, which installs what is missing and nothing else. Root's rights are
# taken through sudo where they are needed.

.PHONY: demo test setup setup-test

# For ncfs demo, such as: make demo ARGS=/tmp/somewhere
ARGS ?=

demo: setup
	cargo run --release --locked --bin ncfs -- demo $(ARGS)

test: setup-test
	scripts/test

setup:
	scripts/setup

setup-test:
	scripts/setup test
