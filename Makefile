# make up    everything from nothing to a running system, until Ctrl-C
# make install  .venv with everything that this project uses
# make test  lint, types, all tests
# make docs  build the documentation into build/site; make docs-serve serves it and rebuilds on changes
# make ci-X  a stage of the Jenkinsfile; see below
# make lock  pin the newest dependencies that pyproject.toml allows
# make image    build the server's image, and list what is in it beside it
# make audit    look the locked packages up among the known vulnerabilities
# make compose  run that image with MLflow, Prometheus, Grafana and Jaeger; make compose-down ends them
# make kind-up         the whole system on a local Kind cluster; kind-down deletes it, kind-logins shows who may come in
# make gke-up ENV=dev  the same on GKE, after terraform apply: deploy/gke/README.md
# make pretrained  train the model that ships, in hours; texts without labels beside the corpus's: UNLABELLED="FILE ..."
# make dashboards  write Grafana's dashboards anew from scripts/dashboards.py

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: install up test lint docs docs-serve lock pretrained dashboards clean image audit compose compose-down
.PHONY: kind-up kind-down kind-logins gke-up gke-down gke-logins
.PHONY: agent-image ci-check ci-test ci-image ci-gate ci-canary ci-smoke ci-promote ci-undo ci-notify

install: $(STAMP)

up: $(STAMP)
	@$(BIN)/python scripts/up.py

test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell *.md docs src deploy/*/README.md

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

docs-serve: $(STAMP)
	$(BIN)/mkdocs serve --dev-addr 127.0.0.1:8001

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

pretrained: $(STAMP)
	$(BIN)/python scripts/pretrained.py --unlabelled $(UNLABELLED)

dashboards: $(STAMP)
	$(BIN)/python scripts/dashboards.py

clean:
	rm -rf .venv .reviews-parsing

kind-up kind-down kind-logins: kind-%: $(STAMP)
	@deploy/cluster.sh kind $*

gke-up gke-down gke-logins: gke-%: $(STAMP)
	@deploy/cluster.sh gke $* $(ENV)

# The stages of the Jenkinsfile. CHALLENGER is the version that ci-gate found; what sets the other variables is
# deploy/services/jenkins/values.yaml.
CANARY ?= 10
AGENT_IMAGE ?= reviews-parsing-ci:1
CANARY_URL ?= http://reviews-parsing-ner-aspects-v$(CHALLENGER)-predictor.reviews-parsing.svc

ci-check: lint

ci-test: $(STAMP)
	$(BIN)/python -m pytest --junitxml=build/tests.xml

ci-gate ci-undo: $(STAMP)
	@$(BIN)/python scripts/ci.py $(@:ci-%=%)

ci-image ci-notify:
	@$(PYTHON) scripts/ci.py $(@:ci-%=%)

ci-canary: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout start --version $(CHALLENGER) --canary $(CANARY)

ci-smoke:
	$(PYTHON) scripts/smoke.py $(CANARY_URL) --version $(CHALLENGER)

ci-promote: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout promote $(if $(WATCH),--auto --for $(WATCH))
	mkdir -p build && touch build/promoted
	$(BIN)/python -m reviews_parsing.cli promote --version $(CHALLENGER)

agent-image:
	$(or $(CONTAINER_ENGINE),$(shell command -v docker),podman) build -f deploy/services/jenkins/agent/Dockerfile -t $(AGENT_IMAGE) .ci
