# Everything a developer calls. Each target sets up what it needs; see CONTRIBUTING.md.
#   PYTHON=python3.12   the interpreter of .venv
#   ARGS=...            more arguments for the demo, the tests or the benchmarks
#   ONLY=name,name      the figures that `make bench` measures

BIN := .venv/bin
export PYTHON
# Where it is set, each process compiles whatever was changed since the set-up.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup servers demo test test-long fuzz witness bench image-check check fmt lock audit clean

setup:
	@deploy/dev/setup.sh

servers:
	@deploy/dev/setup.sh --servers

# The whole way of a mail on this machine: no root, no server, no account anywhere.
demo: setup
	@$(BIN)/ingestd demo $(ARGS)

# A file stays in one process: the servers and databases of a session start as seldom as possible. The order is that
# of tests/conftest.py, the slow ones first.
test: servers
	$(BIN)/pytest -m "not long" -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The campaigns: kills, the image, a bare system. An hour for each test at most.
test-long: servers
	$(BIN)/pytest -m long --timeout 3600 $(ARGS)

# Coverage-guided fuzzing of the mail core, for SECONDS; see tests/fuzz/mail.py.
SECONDS := 300
fuzz: setup
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-fuzz.lock
	$(BIN)/python -m tests.fuzz.mail --seconds $(SECONDS) $(ARGS)

# Holds our fake of Graph against Microsoft's own client.
witness: setup
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-witness.lock
	$(BIN)/pytest tests/connectors/test_graph_fake.py $(ARGS)

# Performance, as ratios to a yardstick of the same run; ONLY=name,name runs some. See bench/README.md.
bench: servers
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

# Builds the image without a registry, and runs it, also in Docker and by compose. Needs root; some minutes.
image-check: setup
	@deploy/dev/setup.sh --image
	$(BIN)/pytest -m long -s --timeout 3600 $(ARGS) tests/deploy/test_image.py tests/deploy/test_image_story.py \
		tests/deploy/test_containers.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins what pyproject.toml allows, with hashes. What is pinned stays so; LOCK="--upgrade" moves it. Needs uv.
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet $(LOCK)
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: pipx install uv"; exit 1; }
	$(COMPILE) pyproject.toml --output-file requirements.lock >/dev/null
	$(COMPILE) pyproject.toml --extra demo --group dev --constraint requirements.lock --output-file requirements-dev.lock >/dev/null
	$(COMPILE) --group fuzz --constraint requirements-dev.lock --output-file requirements-fuzz.lock >/dev/null
	$(COMPILE) --group witness --constraint requirements-dev.lock --output-file requirements-witness.lock >/dev/null
	$(COMPILE) --group peers --output-file requirements-peers.lock >/dev/null
	$(COMPILE) --group node --constraint requirements-dev.lock --output-file requirements-node.lock >/dev/null
	$(COMPILE) --group build --constraint requirements-dev.lock --output-file requirements-build.lock >/dev/null

# Known vulnerabilities of what the daemon runs on. Asks the network.
audit: setup
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
