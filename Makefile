# pfmemd from a checkout. `make` alone lists the targets.
#
# Every target makes what it needs, inside this folder, and does it only once:
#   .venv-dev   the checkout itself, editable, with the test and lint tools
#   .venv-demo  pfmemd as a user installs it: its wheel, the model compiled where a C
#               compiler is
# PYTHON=python3.12 chooses the interpreter, COMPILED=0 leaves the model plain Python.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory
export PYTHON COMPILED

# The build hook would leave .so files beside the sources: only .ci/wheel may turn it on.
unexport HATCH_BUILD_HOOKS_ENABLE

PIP_INSTALL := -m pip --quiet --disable-pip-version-check install
SOURCES := pyproject.toml $(shell find allocator tracegen daemon dashboards -type f \
             ! -name '*.pyc' ! -name '*.so')
PYTEST_ARGS ?=
BENCH_ARGS ?= --quick
EXPERIMENT_ARGS ?=

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: .venv-demo/installed ## A real machine's trace through the daemon, watched live (45 s)
	@.venv-demo/bin/pfmemd demo

.PHONY: test
test: lint test-plain test-compiled ## Everything CI asks: lint, types, tests plain and compiled

.PHONY: lint
lint: .venv-dev/installed ## ruff, its formatter, and mypy --strict
	@echo "== ruff, mypy --strict"
	@.venv-dev/bin/ruff check
	@.venv-dev/bin/ruff format --check
	@.venv-dev/bin/mypy

.PHONY: test-plain
test-plain: .venv-dev/installed ## All tests, the model as plain Python
	@echo "== all tests, the model as plain Python"
	@PATH="$(CURDIR)/.venv-dev/bin:$$PATH" EXPECT_COMPILED=0 \
	    .venv-dev/bin/python -m pytest $(PYTEST_ARGS)

# From another folder and with -P, so that the wheel's model is imported, not the checkout's.
MODEL_TESTS := $(addprefix $(CURDIR)/,$(wildcard \
    tests/test_build_mode.py tests/allocator tests/conformance tests/rules tests/e2e \
    tests/tracegen/kernel_trace tests/tracegen/truth tests/tracegen/workload \
    tests/tracegen/test_batch.py tests/tracegen/test_row_packing.py))

.PHONY: test-compiled
test-compiled: .venv-demo/mode ## The tests that run the model, with the model compiled
	@if [ "$$(cat .venv-demo/mode)" = plain ]; then \
	    echo "== no C compiler with Python's headers, or COMPILED=0: no test of the compiled model"; \
	else \
	    $(MAKE) --silent .venv-demo/test-tools && \
	    echo "== the tests that run the model, the model compiled" && \
	    cd .venv-demo && \
	    EXPECT_COMPILED=1 "$(CURDIR)/.venv-demo/bin/python" -P -m pytest -c "$(CURDIR)/pyproject.toml" \
	        --rootdir "$(CURDIR)" -m "not incompatible_with_mypyc" -p no:cacheprovider \
	        $(PYTEST_ARGS) $(MODEL_TESTS); \
	fi

GENERATED := METRICS:daemon.metrics_doc SETTINGS:daemon.settings_doc \
             COMMANDS:daemon.commands_doc ALERTS:dashboards.alerts_doc

.PHONY: docs
docs: .venv-dev/installed ## Write the generated pages and dashboards anew
	@set -e; for page in $(GENERATED); do \
	    .venv-dev/bin/python -m $${page#*:} > docs/.generated; \
	    mv docs/.generated docs/$${page%%:*}.md; \
	done
	@.venv-dev/bin/python -m dashboards.build

.PHONY: bench
bench: .venv-dev/bench-tools ## The model beside glibc over the same streams (minutes)
	@.venv-dev/bin/python benchmarks/model/bench.py $(BENCH_ARGS)

CYCLES ?= 2000
SEEDS ?= 5000

.PHONY: torture
torture: .venv-dev/installed ## Kill daemons CYCLES times, run SEEDS simulated worlds a mode
	@.venv-dev/bin/python -m tests.simulation.test_simulation 0 $(SEEDS)
	@.venv-dev/bin/python -m tests.torture $(CYCLES)

# The path around the model is measured as it is installed, never as it lies here. The model
# is compiled in .venv-demo where a C compiler is.
BENCH_INSTALLED = cd .venv-demo && PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH="$(CURDIR)/benchmarks/model:$(CURDIR)/benchmarks/traces" \
    "$(CURDIR)/.venv-demo/bin/python" "$(CURDIR)/benchmarks

.PHONY: bench-path
bench-path: .venv-demo/installed ## The path around the model: its parts, then as users run it (minutes)
	@$(BENCH_INSTALLED)/parts/parts.py"
	@$(BENCH_INSTALLED)/e2e/e2e.py"

.PHONY: bench-growth
bench-growth: .venv-demo/installed ## Time for an event against what the machine holds (minutes)
	@$(BENCH_INSTALLED)/growth/growth.py"

.PHONY: bench-rss
bench-rss: .venv-demo/installed ## The daemon's memory over a billion events (ten minutes or so)
	@$(BENCH_INSTALLED)/soak_rss/soak_rss.py"

.PHONY: bench-perf
bench-perf: .venv-demo/installed ## perf and pfmemd over one recording of this machine (root, perf)
	@$(BENCH_INSTALLED)/against_perf/against_perf.py"

.PHONY: bench-check
bench-check: .venv-demo/installed ## Hold instructions for an event to what they were (valgrind; minutes)
	@$(BENCH_INSTALLED)/check/check.py"

SECONDS_EACH ?= 60

.PHONY: fuzz
fuzz: .venv-dev/installed ## Fuzz every reader for SECONDS_EACH; what fails is left here
	@for target in $$(ls tests/fuzz/corpus); do \
	    echo "== $$target"; \
	    .venv-dev/bin/python -m tests.fuzz $$target .fuzz/$$target -max_total_time=$(SECONDS_EACH) \
	        -verbosity=0 -print_final_stats=1 || exit 1; \
	done

.PHONY: experiment-gorman
experiment-gorman: .venv-demo/plot-tools ## The patch series' own test: who hangs, tables and a plot (minutes)
	@cd .venv-demo && bin/python -P "$(CURDIR)/benchmarks/experiment/gorman.py" \
	    --plot "$(CURDIR)/docs/img/experiment-gorman.svg" $(EXPERIMENT_ARGS)

.PHONY: wheel
wheel: .venv-demo/made ## The wheel, in dist/; compiled where a C compiler is
	@.ci/wheel .venv-demo/bin/python dist
	@ls dist/*.whl

.PHONY: clean
clean: ## Remove the environments, caches and builds
	rm -rf .venv-dev .venv-demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv-dev/made .venv-demo/made:
	@.ci/venv $(@D)
	@touch $@

.venv-dev/installed: pyproject.toml .venv-dev/made
	@echo "== $(@D): pfmemd (editable) and the test and lint tools; once, about a minute"
	@$(@D)/bin/python $(PIP_INSTALL) --editable . --group test --group lint
	@touch $@

.venv-dev/bench-tools: .venv-dev/installed
	@echo "== $(@D): what compiles the model for the benchmarks"
	@$(@D)/bin/python $(PIP_INSTALL) --group bench
	@touch $@

# Written anew only when the answer is another one: a compiler came, or COMPILED was set.
.venv-demo/mode: .venv-demo/made FORCE
	@.ci/mode $(@D)/bin/python > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.PHONY: FORCE
FORCE:

.venv-demo/installed: $(SOURCES) .venv-demo/made .venv-demo/mode
	@.ci/wheel $(CURDIR)/$(@D)/bin/python $(CURDIR)/$(@D)/wheel
	@echo "== $(@D): pfmemd and what it depends on"
	@$(@D)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps $(@D)/wheel/*.whl
	@$(@D)/bin/python $(PIP_INSTALL) $(@D)/wheel/*.whl
	@touch $@

.venv-demo/plot-tools: .venv-demo/installed
	@echo "== $(@D): what draws the plot"
	@$(@D)/bin/python $(PIP_INSTALL) --group plot
	@touch $@

.venv-demo/test-tools: .venv-demo/installed
	@echo "== $(@D): the test tools"
	@$(@D)/bin/python $(PIP_INSTALL) --group test
	@touch $@
