# Winnow: `make demo` shows what it does, `make test` proves that it works.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ACCELERATOR := $(if $(shell command -v nvidia-smi),gpu,cpu)

export DO_NOT_TRACK := 1
export KEDRO_DISABLE_TELEMETRY := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export TOKENIZERS_PARALLELISM := false
export TORCH_EXTENSIONS_DIR ?= $(HOME)/.cache/winnow/torch_extensions
# Compiled modules are kept: without them every start costs seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo study test lint clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## create .venv and install everything, with the tested versions

# uv does not read pip's configuration: a folder of wheels that pip knows is handed on.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	links="$${UV_FIND_LINKS:-$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null)}}"; \
	UV_FIND_LINKS="$$links" $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		--compile-bytecode --editable ".[$(ACCELERATOR),dev]"
	touch $@

demo: install ## nine ways of choosing on generated data, in minutes; then look at it in MLflow and Kedro-Viz
	$(BIN)/kedro run --config recipes/demo.yml

study: install ## run every way of choosing, ten seeds each: an hour and a half on 2 cores; resumes
	$(BIN)/kedro run --config recipes/study.yml

test: install ## run every test
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: install ## style, types, and the architecture's import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## remove what runs produced; raw data stays
	rm -rf data/0[2-8]*/[!.]* mlflow.db mlartifacts .viz build
