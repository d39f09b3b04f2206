# make up    everything from nothing to a running system, until Ctrl-C
# make test  lint, types, all tests
# make lock  pin the newest dependencies that pyproject.toml allows
# make image    build the server's image, and list what is in it beside it
# make audit    look the locked packages up among the known vulnerabilities
# make compose  run that image with MLflow, Prometheus, Grafana and Jaeger; make compose-down ends them
# make kind-up         the whole system on a local Kind cluster; kind-down deletes it, kind-logins shows who may come in
# make gke-up ENV=dev  the same on GKE, after terraform apply: deploy/gke/README.md

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: up test lint lock clean image audit compose compose-down \
    kind-up kind-down kind-logins gke-up gke-down gke-logins

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

image: $(STAMP)
	@$(BIN)/python scripts/image.py

audit: $(STAMP)
	$(BIN)/pip-audit --strict --disable-pip --requirement requirements.lock \
	    $(shell sed -n 's/^\([A-Z]*-[^ ]*\) .*/--ignore-vuln \1/p' audit-exceptions.txt)

MODEL := models/reviews-parsing-ner-aspects
COMPOSE = REVIEWS_PARSING_VERSION=$$(git describe --tags --always --dirty) docker compose --file $(MODEL)/compose.yaml

compose: image $(MODEL)/.env
	$(COMPOSE) up --detach

compose-down:
	$(COMPOSE) down

$(MODEL)/.env:
	@umask 077 && for name in POSTGRES_PASSWORD S3_SECRET_KEY GRAFANA_PASSWORD; do \
	    $(PYTHON) -c "import secrets; print('$$name=' + secrets.token_hex(24))"; done > $@

clean:
	rm -rf .venv .reviews-parsing

kind-up kind-down kind-logins: kind-%: $(STAMP)
	@deploy/cluster.sh kind $*

gke-up gke-down gke-logins: gke-%: $(STAMP)
	@deploy/cluster.sh gke $* $(ENV)
