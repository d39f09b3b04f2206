# make up    everything from nothing to a running system, until Ctrl-C
# make test  lint, types, all tests
# make lock  pin the newest dependencies that pyproject.toml allows
# make dashboards  write Grafana's dashboards anew from scripts/dashboards.py

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: up test lint lock dashboards clean

up: $(STAMP)
	@$(BIN)/python scripts/up.py

test: $(STAMP) lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml requirements.lock scripts/install.py
	@$(PYTHON) scripts/install.py
	@touch $@

lock: $(STAMP)
	$(BIN)/python scripts/lock.py

dashboards: $(STAMP)
	$(BIN)/python scripts/dashboards.py

clean:
	rm -rf .venv .reviews-parsing
