# SimpleTuner Cloud. `make run` is all it takes; `make help` lists the rest.
# PYTHON: the Python to set up with (3.11 or newer). PORT: the first of three ports (8001).

PYTHON ?= python3
VENV := .local/venv/bin
PYTEST := $(VENV)/python -m pytest
STACK := $(VENV)/python -m local.stack
export PORT
WHEN_SET_UP := test -x $(VENV)/python || { echo "Nothing is set up here yet. make run does it."; exit 0; };

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-python setup-browser run up stop reset status logs deploy destroy \
	test test-unit test-contracts test-functional test-stack test-e2e test-web e2e \
	check lint format types imports sizes openapi openapi-check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Running

run: ## bring the stack up, run a demo job, stay until Ctrl-C
	@$(PYTHON) -m local.setup --start "make run"
	@$(STACK) run

up: ## the same in the background, without the demo
	@$(PYTHON) -m local.setup --start "make up"
	@$(STACK) up

stop: ## end it; jobs are kept
	@$(WHEN_SET_UP) $(STACK) stop

# make would turn its exit code 3 (not up) into a 2 with an error of its own. Scripts ask as it does here.
status: ## what runs (scripts: .local/venv/bin/python -m local.stack status; exit code 3: not up)
	@$(WHEN_SET_UP) $(STACK) status || true

logs: ## what the programs and the Lambdas write; follows while the stack is up
	@$(WHEN_SET_UP) $(STACK) logs

reset: ## remove all local jobs, datasets, people, keys and the demo's models (YES=1: don't ask)
	@$(WHEN_SET_UP) $(STACK) reset $(if $(filter 1 yes true,$(YES)),--yes)

setup: ## environments, Node.js packages, built console: what running needs
	@$(PYTHON) -m local.setup

setup-dev: ## the same, with the packages of tests and checks
	@$(PYTHON) -m local.setup --dev

setup-python: ## the Python environments alone, with those packages
	@$(PYTHON) -m local.setup --dev --python

setup-browser: ## all of it, with the packages of the browser tests
	@$(PYTHON) -m local.setup --dev --browser

deploy: setup ## deploy to your AWS account (STAGE=prod, ARGS="--profile me")
	@$(VENV)/python -m infra.deploy --stage $(or $(STAGE),prod) $(ARGS)

destroy: setup ## delete a deployed stack with all its data (STAGE=…)
	@$(VENV)/python -m infra.deploy --stage $(or $(STAGE),prod) --destroy $(ARGS)

# Testing. ARGS goes to pytest: make test-unit ARGS="-k budget"

test: setup-browser ## everything: all tiers and the console's own checks
	@$(PYTEST) tests/unit tests/property -n 2 --cov $(ARGS)
	@$(PYTEST) tests/contracts $(ARGS)
	@$(PYTEST) tests/functional $(ARGS)
	@$(PYTEST) tests/stack $(ARGS)
	@$(PYTEST) tests/e2e $(ARGS)
	@$(VENV)/python -m local.setup.npm webui run check

test-unit: setup-python ## rules and properties: no network, no files
	@$(PYTEST) tests/unit tests/property $(ARGS)

test-contracts: setup-python ## the same suite against fakes and real adapters
	@$(PYTEST) tests/contracts $(ARGS)

test-functional: setup-python ## servers on loopback
	@$(PYTEST) tests/functional $(ARGS)

test-stack: setup-dev ## the deployed stack over HTTP
	@$(PYTEST) tests/stack $(ARGS)

test-e2e e2e: setup-browser ## a user's walks through command line and browser
	@$(PYTEST) tests/e2e $(ARGS)

test-web: setup ## types, lint and tests of the console
	@$(VENV)/python -m local.setup.npm webui run check

# Checking

check: lint types imports sizes openapi-check test ## all that a change must pass

lint: setup-python ## ruff: rules and format
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

format: setup-python ## ruff: put right what it can
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

types: setup-python ## mypy, strict
	@$(VENV)/mypy

imports: setup-python ## who may import whom
	@$(VENV)/lint-imports

sizes: setup-python ## no module above 400 lines
	@$(VENV)/python -m local.setup.sizes

openapi: setup-python ## write docs/openapi.json
	@$(VENV)/python scripts/openapi.py

openapi-check: setup-python ## docs/openapi.json is what the code says
	@$(VENV)/python scripts/openapi.py --check

clean: ## remove caches and builds; jobs and environments stay
	@rm -rf build webui/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
