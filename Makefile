# The targets that people and CI run. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := .demo
WORLD := $(DEMO)/world/catalog/catalog.json
TRUTH := $(DEMO)/world/truth

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed: set PYTHON")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: env
env: $(READY) ## make the environment (.venv) from requirements.lock

.PHONY: demo
demo: $(READY) ## make a small world and map it: the main job on an embedded default
	$(BIN)/prospectra world $(DEMO)/world
	$(BIN)/prospectra run workflows/demo.yaml --catalog $(WORLD) --out $(DEMO)/run
	$(BIN)/prospectra score workflows/demo.yaml --catalog $(WORLD) --out $(DEMO)/run \
	  --reference demo_nevada=$(TRUTH)/demo_nevada_class.tif \
	  --deposits demo_nevada=$(TRUTH)/demo_nevada_deposits.gpkg \
	  --reference demo_almeria=$(TRUTH)/demo_almeria_class.tif \
	  --deposits demo_almeria=$(TRUTH)/demo_almeria_deposits.gpkg
	@echo
	@echo "open the report in a browser:  $(DEMO)/run/report.html"
	@echo "open the maps in QGIS:         drag $(DEMO)/run/demo_almeria/class.tif and zones.gpkg into it"

.PHONY: test
test: $(READY) ## run the tests
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not qgis and not stac and not live"

.PHONY: test-slow
test-slow: $(READY) ## run the tests that kill runs and start clusters
	$(BIN)/python -m pytest -m slow

.PHONY: test-qgis
test-qgis: $(READY) ## open the outputs in QGIS (installs Debian's python3-qgis when root)
	@/usr/bin/python3 -c 'import qgis.core' 2>/dev/null || { \
	  test "$$(id -u)" = 0 || { echo "install Debian's python3-qgis first, or run this as root"; exit 1; }; \
	  apt-get update -q && apt-get install -q -y --no-install-recommends python3-qgis; }
	$(BIN)/python -m pytest -m qgis

STAC := .venv-stac

$(STAC)/.ready: tests/servers/requirements.lock
	$(PYTHON) -m venv --clear $(STAC)
	$(STAC)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: test-stac
test-stac: $(READY) $(STAC)/.ready ## run against a real STAC API (installs Debian's PostgreSQL and PostGIS when root)
	@ls /usr/lib/postgresql/*/bin/initdb /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 || { echo "install Debian's postgresql-15 and postgresql-15-postgis-3 first, or run this as root"; exit 1; }; \
	  apt-get update -q && apt-get install -q -y --no-install-recommends postgresql-15 postgresql-15-postgis-3; }
	$(BIN)/python -m pytest -m stac tests/test_pgstac.py

.PHONY: test-live
test-live: $(READY) ## ask the real catalogs (needs the network; never part of the other tests)
	$(BIN)/python -m pytest -m live tests/test_live.py

.PHONY: check
check: $(READY) ## lint, types, import floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The peer of the geometric median has an environment of its own; without it only ours is measured.
GEOMAD := benchmarks/.data/geomad

.PHONY: bench
bench: $(READY) ## measure the engine against its limit and its peers (long)
	$(BIN)/python -m benchmarks.composite
	test -d $(GEOMAD) || { $(PYTHON) -m venv $(GEOMAD) && $(GEOMAD)/bin/pip install -q geomad==1.0.0; } \
	  || rm -rf $(GEOMAD)
	$(BIN)/python -m benchmarks.geomedian

.PHONY: lock
lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --universal --fork-strategy fewest \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header \
	  --no-annotate --exclude-newer 7d -o requirements.lock

.PHONY: clean
clean: ## remove the environment, the demo and every cache
	rm -rf $(VENV) $(STAC) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
