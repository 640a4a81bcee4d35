# Everything runs in .venv, made from the hash-pinned files in constraints/.
PYTHON ?= python3
BIN := .venv/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
.DEFAULT_GOAL := help

.PHONY: help setup demo test lint unit browser tools cluster-tools test-long test-cluster bench soak simulate fuzz docs dist sbom licences audit test-pythons site lock clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: .venv/.ready ## make the virtual environment

.venv/.ready: constraints/build.txt constraints/dev.txt pyproject.toml example_plugins/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r constraints/build.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation -r constraints/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . -e example_plugins
	@touch $@

demo: setup ## profile 336,776 flights through a local Datahub
	@$(BIN)/python docs/demo.py

lint: setup ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.14 plugin_framework
	$(BIN)/lint-imports

tools: ## command-line tools that example plugins wrap (Debian's poppler-utils)
	@command -v pdftotext >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq --no-install-recommends poppler-utils; }

browser: ## the browser that pages are tried in (Debian's Chromium)
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq --no-install-recommends chromium fonts-dejavu-core; }

cluster-tools: ## the servers that tests of many machines start (Debian's RabbitMQ, Redis, PostgreSQL)
	@PATH="$$PATH:/usr/sbin"; command -v rabbitmq-server >/dev/null && command -v redis-server >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
		|| { $(SUDO) apt-get update -qq && $(SUDO) env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends rabbitmq-server redis-server postgresql iproute2; }

# Tests of real processes under real time limits share the processors with three others: what fails
# beside them is run once more alone, and what then passes stays named as failed in the first summary.
unit: setup browser tools cluster-tools ## all tests but the long ones
	$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --durations 15 -m "not cluster and not long" \
		|| { [ $$? = 1 ] && echo "once more, alone:" && $(BIN)/pytest -q --last-failed --last-failed-no-failures none; }

test-long: setup browser tools ## the tests that weigh much
	$(BIN)/pytest -q --durations 15 -m long

test-cluster: setup cluster-tools ## all tests of many machines
	$(BIN)/pytest -q --durations 15 tests/engines tests/cluster

test: lint unit ## lint and unit: what CI runs

bench: setup .bench/.ready ## transfers beside other clients and the limit (BENCH_QUICK=1: 4 minutes)
	@command -v aria2c >/dev/null && command -v curl >/dev/null && command -v gcc >/dev/null && [ -e /usr/include/openssl/ssl.h ] \
		|| { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq --no-install-recommends aria2 curl gcc libc6-dev libssl-dev; } \
		|| echo "not all could be installed; what lacks is shown as such"
	$(BIN)/python -m benchmarks transfer

.bench/.ready: constraints/peers.txt
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip install --quiet --require-hashes -r constraints/peers.txt
	@touch $@

docs: setup ## write the generated reference pages
	$(BIN)/python docs/generate.py

soak: setup ## a service under chaos for SECONDS=7200; fails where a task is lost or memory grows
	mkdir -p build
	$(BIN)/python -m benchmarks soak

simulate: setup ## draw the pictures of docs/explanation/scaling.md anew
	$(BIN)/python -m benchmarks.simulation

fuzz: setup ## feed each fuzz target for SECONDS=600
	for target in signing answers ranges config_values; do $(BIN)/python -m fuzz $$target -max_total_time=$(or $(SECONDS),600) || exit 1; done

dist: setup ## build sdist and wheel of the last commit into dist/
	rm -rf build/source dist
	mkdir -p build/source
	git archive HEAD | tar --extract --directory build/source
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir dist build/source
	cd dist && sha256sum * | tee ../build/SHA256SUMS

sbom: setup ## write the bill of materials (CycloneDX) into build/sbom.cdx.json
	mkdir -p build
	$(BIN)/python -W error -m release.sbom build/sbom.cdx.json

licences: setup ## print under which licences users get what is installed, and refuse any not allowed
	$(BIN)/python -m release.licences

audit: setup ## look up known vulnerabilities of all that is pinned (asks a service on the internet)
	for pins in constraints/*.txt; do $(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement $$pins || exit 1; done

test-pythons: dist ## try the wheel on VERSIONS="3.11 3.12 3.13 3.14", by default on those that are here
	$(BIN)/python -m release.pythons dist/*.whl $(VERSIONS)

site: setup ## build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: ## pin the dependencies anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o constraints/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --all-extras -c constraints/runtime.txt -o constraints/extras.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group build -o constraints/build.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml --group dev -c constraints/extras.txt -c constraints/build.txt -o constraints/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group peers -c constraints/dev.txt -o constraints/peers.txt

clean: ## remove what was made
	rm -rf .venv .bench .demo build dist
