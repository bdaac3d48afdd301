# One command per task; each makes the environment it needs, once, from the lock.
#
#   make charlm      train a character language model, 1.5 minutes; ARGS="--cell=gru" adds flags
#   make test        the laws, minutes (ARGS="-k lstm" adds pytest's own options)
#   make test-slow   the tests that train something
#   make test-peers  parity with other frameworks, in an environment of its own
#   make test-integration  sweeps on a real Ray, Slurm and PostgreSQL, on this machine
#   make docs        these documents and the reference as pages: docs/_build/index.html
#   make lint        ruff and mypy
#   make lock        resolve pyproject.toml anew into requirements.lock (needs uv)
#
# Assumed on the machine: make, and Python >= 3.11 with venv and pip.

# The first of these that runs makes the environments; to choose: make PYTHON=python3.12
PYTHON ?= python3.13 python3.12 python3.11 python3

# A name on PATH is no proof: pyenv's shims are there for versions that are not.
fits = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
python = $(firstword $(foreach p,$(PYTHON),$(shell $(p) -c '$(fits)' 2>/dev/null && echo $(p))))
none_fits = no Python >= 3.11 with venv and ensurepip among: $(PYTHON); \
  install one (on Debian also python3-venv) or name it: make PYTHON=/path/to/python3

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ONLY_BINARY := :all:

.PHONY: install charlm test test-slow test-peers test-integration docs lint lock

install: .venv/ready

# The stamps are written last, so that an interrupted installation starts over.
.venv/locked .venv-peers/locked .venv-launch/locked .venv-docs/locked: requirements.lock
	$(or $(python),$(error $(none_fits))) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install -qq --no-deps -r requirements.lock
	@touch $@

.venv/ready: .venv/locked setup.cfg pyproject.toml
	.venv/bin/python -m pip install -qq --no-deps --no-build-isolation -e .
	@.venv/bin/python -m pip check || { echo "make lock brings the lock up to date"; exit 1; }
	@touch $@

# Not locked: what torch brings along differs by platform and by build of torch. seqeval
# has no wheel, and is built with tools of its own.
.venv-peers/ready: .venv-peers/locked setup.cfg pyproject.toml
	.venv-peers/bin/python -m pip install -qq --no-binary seqeval -e ".[peers]"
	@touch $@

# Not locked: Ray, psycopg and what they bring are for clusters, which have their own.
.venv-launch/ready: .venv-launch/locked setup.cfg pyproject.toml
	.venv-launch/bin/python -m pip install -qq --no-build-isolation \
	  -e ".[search,ray,slurm,postgresql,dashboard,browser]"
	@touch $@

# Not locked: no one's results depend on how pages look.
.venv-docs/ready: .venv-docs/locked setup.cfg pyproject.toml
	.venv-docs/bin/python -m pip install -qq --no-build-isolation -e ".[docs]"
	@touch $@

charlm: .venv/ready
	.venv/bin/python -m experiments.charlm --minutes=1.5 $(ARGS)

test: .venv/ready
	.venv/bin/python -m pytest -n 2 --haste -m "not (slow or peers or integration)" $(ARGS)

# Exit code 5 is pytest's "nothing collected": a mark that no test carries yet.
test-slow: .venv/ready
	.venv/bin/python -m pytest -n 2 --haste --dist=worksteal -m "slow and not (peers or integration)" $(ARGS) \
	  || [ $$? -eq 5 ]

test-peers: .venv-peers/ready
	.venv-peers/bin/python -m pytest -n 2 --dist=worksteal -m peers $(ARGS) || [ $$? -eq 5 ]

# Root on Debian installs the servers that are not there; what is missing is skipped.
test-integration: .venv-launch/ready
	tests/integration/packages.sh
	.venv-launch/bin/python -m pytest -n 2 --dist loadfile -m integration $(ARGS)

docs: .venv-docs/ready
	.venv-docs/bin/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo docs/_build/index.html

lint: .venv/ready
	.venv/bin/python -m ruff check
	.venv/bin/python -m ruff format --check
	.venv/bin/python -m mypy

# setuptools: the editable install above builds without isolation, hence offline.
lock:
	echo "setuptools>=77" | uv pip compile -q --upgrade --universal \
	  --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" --extra test --extra lint --extra search \
	  --extra music --extra text --extra translation --extra convert pyproject.toml - -o requirements.lock
