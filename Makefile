# The commands of this project. Each prepares what it needs, says so, and can be run again.
#   make demo    build, then deploy a real application through Master, Node and Client
#   make test    format check, lints, licences, all tests
#   make screenshots  the pictures of docs/dashboard.md, by the browser that tests the dashboard
#   make machine  the node as a service of a whole Debian in QEMU: systemd, limits, reboot; as root
#   make fuzz    throw mutated input at every decoder, SECONDS=10 for each
#   make bench   side by side with the released upstream
#   make scale   two million instances on 6,100 simulated nodes; SCALE="--share 0.01" for less
#   make install put `slapos` into ~/.cargo/bin, and its manual pages where `man` finds them
#   make wheel   the SDK for Python as a wheel in target/wheels, for `pip install`

.PHONY: demo test lint screenshots machine fuzz bench scale install wheel setup setup-test

demo: setup
	cargo build --release -p cli -p python
	target/release/slapos standalone --demo $(DEMO)

test: setup-test lint
	python3 software/helloworld/test_helloworld.py
	python3 tests/peer/setup.py target/peer
	SLAPOS_TEST_SUPERVISORCTL=$(CURDIR)/target/peer/client/bin/supervisorctl \
		cargo test --workspace --no-fail-fast

lint: setup-test
	cargo fmt --all -- --check
	cargo fmt --manifest-path fuzz/Cargo.toml -- --check
	cargo clippy --workspace --all-targets -- -D warnings
	tools/deny

screenshots: setup-test
	SLAPOS_SCREENSHOTS=docs/images cargo test -p cli --test dashboard -- --nocapture

machine: setup
	cargo build --release -p cli
	tools/machine target/release/slapos

SECONDS ?= 10
fuzz: setup-fuzz
	tools/fuzz $(SECONDS) $(TARGETS)

bench: setup-test
	cargo build --release -p cli -p python
	cargo run --release -p bench -- $(BENCH)

SCALE ?= --share 1
scale: setup-test
	cargo build --release -p cli
	cargo run --release -p bench -- scale $(SCALE)

# The console's Python module goes into the program.
install: setup
	cargo build --release --locked -p python
	SLAPOS_PYTHON_MODULE=$(CURDIR)/target/release/libslapos_native.so \
		cargo install --path crates/cli --locked
	"$${CARGO_HOME:-$$HOME/.cargo}/bin/slapos" man "$${XDG_DATA_HOME:-$$HOME/.local/share}/man/man1"

# maturin comes from PyPI, into a virtual environment of its own.
wheel: setup
	python3 -m venv target/maturin
	target/maturin/bin/pip install -q --disable-pip-version-check 'maturin>=1.9,<2'
	target/maturin/bin/maturin build --release --locked -m crates/python/Cargo.toml --out target/wheels

setup:
	@tools/setup build

setup-test:
	@tools/setup test

setup-fuzz:
	@tools/setup fuzz
