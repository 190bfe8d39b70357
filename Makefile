# The commands of AlexNet Lab. `make` alone lists them.
PYTHON ?= python3
# Relative, so that the project's folder may have any name; PATH alone needs the whole path.
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
BASE ?= origin/main
EXTRAS ?= dev

# Into .venv, whatever a user's own settings of pip and Python say.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_DRY_RUN PIP_NO_DEPS
PIP = $(BIN)/python -m pip install --no-user --target= --quiet --disable-pip-version-check \
      -c constraints.txt

COMMIT = git -c user.name=demo -c user.email=demo@localhost -c commit.gpgsign=false commit --quiet --no-verify -m

# As many at once as there are cores, each with one thread.
PYTEST = env -u FORCE_COLOR -u TTY_COMPATIBLE PYTHONUTF8=1 OMP_NUM_THREADS=1 pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help git setup demo repro plan sweep progress check test status unchanged experiments bench review clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

git:
	@LC_ALL=C git status --short 2>&1 | grep -A9 dubious && exit 1; git cat-file -e HEAD:./params.yaml 2> /dev/null || { echo "git has no commit of this folder,\
	  and DVC needs one: git clone the project, or git init && git add . && git commit -m start"; exit 1; }

setup: .venv/.ready ## create .venv with exactly pinned versions: a minute, some GB

.venv/.ready: pyproject.toml constraints.txt environment.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "AlexNet Lab needs Python 3.11 or newer: make setup PYTHON=python3.12"; exit 1; }
	@case "$$PWD" in *[:\\\$${}]*) printf '%s\n' "A folder's name has one of : \\ \$$ { }, which Python's tools \
	cannot take. Move the project: $$PWD"; exit 1;; esac
	$(PYTHON) -m venv .venv
	@$(PIP) uv && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]' || \
	  { echo "uv could not install it: pip does, in two minutes"; $(PIP) -e '.[$(EXTRAS)]'; }
	@cp environment.pth "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/alexnet_lab.pth"
	@$(BIN)/python -m alexnet_lab.results.page > .venv/plots.html
	@touch $@

demo: git setup ## the five exercises on the sample in git: about 4 minutes, results in demo/
	@rm -rf demo && git init --quiet demo
	@git ls-files -z -- . ':!metrics' ':!plots' ':!REPORT.md' | tar -c --null -T - | tar -x -C demo
	@$(BIN)/python -m tools.demo demo
	@cd demo && git add --force . && $(COMMIT) "The project, changed by tools/demo.py"
	@mkdir -p demo/.venv && cp .venv/plots.html demo/.venv/
	@cd demo && dvc cache dir --local ../.dvc/cache && ALEXNET_LAB_COMMITTED=0 dvc repro
	@cd demo && git add . && $(COMMIT) "Its results"
	@cd demo && python -m alexnet_lab.results.answers
	@echo "A sample of minutes: look at the shapes, not at the numbers. Open demo/plots/report.html."

repro: git setup ## rebuild every result that is not up to date, on the full data
	@dvc repro
	@$(BIN)/python -m alexnet_lab.results.answers
	@echo "Every result is up to date. Every verdict: REPORT.md and plots/report.html."

plan: git setup ## what would be trained, before anything runs: make plan WHAT='-S lr=0.05'
	@dvc repro --quiet prepare
	@$(BIN)/python -m alexnet_lab.plan $(WHAT)

sweep: git setup ## several what-ifs at once: make sweep WHAT="-S 'schedules.train.lr=0.003,0.01,0.03'"
	@dvc repro --quiet prepare
	@$(BIN)/python -m alexnet_lab.cluster $(WHAT)
	@dvc exp run --queue $(WHAT) && dvc exp run --run-all

progress: setup ## draw the curves of runs under way, from another terminal: progress/*.png
	@$(BIN)/python -m alexnet_lab.results.progress

check: setup ## lint, format, types, and the contracts between code and dvc.yaml
	ruff check .
	ruff format --check .
	mypy
	$(if $(filter test,$(MAKECMDGOALS)),,$(PYTEST) tests/test_contracts.py)

test: setup ## the fast tests, the contracts too
	$(PYTEST)

status: git setup ## check that no committed result is older than its code, data or parameters
	@$(BIN)/python -m tools.status

unchanged: git setup ## prove that a change of code moved no number, then dvc commit it
	@$(BIN)/python -m tools.unchanged "$(if $(filter file,$(origin BASE)),HEAD,$(BASE))"

experiments: git setup ## the experiments in a table that fits: changed parameters and accuracies
	@$(BIN)/python -m alexnet_lab.results.experiments

bench: git setup ## our engine against the usual way, the store's worth, and scale: metrics/{speed,reuse,scale}.json
	@$(BIN)/python -c 'import distributed' 2> /dev/null || { echo "make bench needs Dask: .venv/bin/uv pip install\
	  --python .venv/bin/python -c constraints.txt -e '.[cluster]'"; exit 1; }
	dvc repro --quiet prepare
	$(BIN)/python -m benchmarks.speed --out metrics/speed.json
	$(BIN)/python -m benchmarks.reuse --out metrics/reuse.json
	$(BIN)/python -m benchmarks.scale --out metrics/scale.json

review: git setup ## Markdown: what moved against BASE (origin/main), and whether beyond chance
	@$(BIN)/python -m alexnet_lab.results.review "$(BASE)"
	@echo && echo "### Parameters" && echo && dvc params diff --md "$(BASE)"

clean: ## remove environment, demo and the store of runs; results and data stay
	rm -rf .venv demo progress .runs .mypy_cache .pytest_cache .ruff_cache
