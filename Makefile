# make up    everything from nothing to a running system, until Ctrl-C
# make test  lint, types, all tests
# make lock  pin the newest dependencies that pyproject.toml allows
# make kind-up         the whole system on a local Kind cluster; kind-down deletes it, kind-logins shows who may come in
# make gke-up ENV=dev  the same on GKE, after terraform apply: deploy/gke/README.md

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: up test lint lock clean kind-up kind-down kind-logins gke-up gke-down gke-logins

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

clean:
	rm -rf .venv .reviews-parsing

kind-up kind-down kind-logins: kind-%: $(STAMP)
	@deploy/cluster.sh kind $*

gke-up gke-down gke-logins: gke-%: $(STAMP)
	@deploy/cluster.sh gke $* $(ENV)
