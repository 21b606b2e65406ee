# The two commands: `make run` starts the product, `make test` proves it.

.PHONY: help run setup test test-long check format demo bench lock hooks clean
BIN := .venv/bin

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

run: setup ## start Console and local Defender; data in ./data
	@exec $(BIN)/garrison up --data $${GARRISON_DATA:-./data}

setup: ## .venv with what garrison needs
	@scripts/setup run

dev:
	@scripts/setup dev

system: dev
	@$(BIN)/python -m lab.debian
	@$(BIN)/python -m lab.image

test: system static ## every test but the long ones
	@exec $(BIN)/pytest -m "not long" -n auto --maxprocesses 4 --dist loadfile

test-long: system ## soak, fuzzing, large images
	@exec $(BIN)/pytest -m long

check: dev static ## format, lint, types, import contracts, unit and property tests
	@exec $(BIN)/pytest tests/unit tests/property -m "not long" -n auto --maxprocesses 4

static: dev
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: dev ## format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

demo: system ## a whole network on one machine, without internet
	@exec $(BIN)/python -m lab.demo

bench: system ## scans beside peers on PATH; egress beside curl; images taken in on both databases
	@$(BIN)/python -m bench.scan
	@$(BIN)/python -m bench.egress || echo "egress: slower than its limit" >&2
	@exec $(BIN)/python -m bench.database --lab

lock: ## requirements/*.txt from pyproject.toml; needs uv on PATH
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" pyproject.toml --extra console --extra cli --extra defender --group build -o requirements/run.txt
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" pyproject.toml --extra console --extra cli --extra defender --group build --group dev -c requirements/run.txt -o requirements/dev.txt

hooks: ## run `make check` before each commit
	@printf '#!/bin/sh\nexec make check\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit

clean:
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
