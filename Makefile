# make up    install, register the pretrained model, and run the whole system until Ctrl-C
# make install  create .venv with all dependencies
# make test  lint, types, all tests
# make test-lowest  all tests with the oldest versions that pyproject.toml allows; test-newest: with the newest. Some of
#                   them: make test-lowest OPTIONS="tests/data -x"
# make coverage  all tests with branch coverage; fails below COVERAGE_FLOOR percent. The page: build/coverage/index.html
# make clean  delete environments, builds, caches, the local home, and the containers and volumes of make compose
# make docs  build the documentation into build/site; make docs-serve serves it and rebuilds on changes
# make ci-X  a stage of the Jenkinsfile; see below
# make lock  pin the newest dependencies that pyproject.toml allows
# make image    build the server's image, and list what is in it beside it
# make tools-image  build the image of page and report: TOOLS_IMAGE=reviews-parsing-tools:VERSION
# make train-image  build the image of the chart's retraining: TRAIN_IMAGE=reviews-parsing-train:VERSION
# make audit    check the locked packages for known vulnerabilities; ADVISORIES=all.zip: in an offline copy
# make compose  run that image with MLflow, Prometheus, Grafana and Jaeger; make compose-down stops them
# make kind-up         the whole system on a local Kind cluster; kind-down deletes it, kind-logins prints users and passwords
# make gke-up ENV=dev  the same on GKE, after terraform apply: deploy/gke/README.md
# make pretrained  train the model that ships (hours); more texts without labels: UNLABELLED="FILE ..." SOURCES="licence"
# make pretrained-fast  distil the smaller model that ships from it (an hour); with the same variables
# make dashboards  regenerate Grafana's dashboards from scripts/dashboards.py

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: install up test coverage test-lowest test-newest lint docs docs-serve lock pretrained pretrained-fast dashboards clean image tools-image train-image audit
.PHONY: compose compose-down
.PHONY: kind-up kind-down kind-logins gke-up gke-down gke-logins
.PHONY: agent-image ci-check ci-test ci-image ci-gate ci-deploy ci-canary ci-smoke ci-promote ci-undo ci-notify
.PHONY: ci-retrain ci-champion

install: $(STAMP)

up: $(STAMP)
	@$(BIN)/python scripts/up.py

PYTEST_PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder
COVERAGE_FLOOR ?= 95
PYTEST_COVERAGE = --cov --cov-report=term:skip-covered --cov-report=xml:build/coverage.xml --cov-fail-under=$(COVERAGE_FLOOR)

test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_PARALLEL)

coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_PARALLEL) $(PYTEST_COVERAGE) --cov-report=html

test-lowest test-newest: test-%: $(STAMP)
	$(BIN)/python scripts/bounds.py $* $(OPTIONS)

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

# Version of the project and appVersion of the charts, whose default images are those that are built here.
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
TOOLS_IMAGE ?= reviews-parsing-tools:$(VERSION)
TRAIN_IMAGE ?= reviews-parsing-train:$(VERSION)
ENGINE = $(or $(CONTAINER_ENGINE),$(shell command -v docker),podman)
# BuildKit finds the ignore file beside a Dockerfile; podman needs an option.
IGNORE_FILE = $(if $(findstring podman,$(ENGINE)),--ignorefile $(1).dockerignore)

tools-image:
	$(ENGINE) build -f deploy/tools/Dockerfile $(call IGNORE_FILE,deploy/tools/Dockerfile) -t $(TOOLS_IMAGE) .

train-image:
	$(ENGINE) build -f deploy/train/Dockerfile $(call IGNORE_FILE,deploy/train/Dockerfile) -t $(TRAIN_IMAGE) .

audit: $(STAMP)
	$(BIN)/python scripts/audit.py

MODEL := models/reviews-parsing-ner-aspects
COMPOSE = docker compose --file $(MODEL)/compose.yaml

compose: image
	@$(PYTHON) scripts/compose.py
	$(COMPOSE) up --detach

compose-down:
	@[ ! -e $(MODEL)/.env ] || $(PYTHON) scripts/compose.py
	$(COMPOSE) down

pretrained pretrained-fast: $(STAMP)
	$(BIN)/python scripts/pretrained.py $(if $(findstring fast,$@),--fast) --unlabelled $(UNLABELLED) --sources "$(SOURCES)"

dashboards: $(STAMP)
	$(BIN)/python scripts/dashboards.py

# kind-down deletes the cluster and its kubeconfig, which it needs.
clean:
	@[ ! -e .reviews-parsing/kind.kubeconfig ] || { echo "error: make kind-down first: the cluster still runs" >&2; exit 1; }
	@[ ! -e $(MODEL)/.env ] || { $(PYTHON) scripts/compose.py && $(COMPOSE) down --volumes; }
	rm -rf .venv .reviews-parsing build dist mlruns $(MODEL)/.env
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -prune \
	    -exec rm -rf {} + -o \( -name '*.py[cod]' -o -name .coverage \) -exec rm -f {} +

kind-up kind-down kind-logins: kind-%: $(STAMP)
	@deploy/cluster.sh kind $*

gke-up gke-down gke-logins: gke-%: $(STAMP)
	@deploy/cluster.sh gke $* $(ENV)

# The stages of the Jenkinsfiles. SIGNED_IMAGE is the image that ci-image signed, CHALLENGER the version that ci-gate selected;
# deploy/services/jenkins/values.yaml sets the other variables.
CANARY ?= 10
AGENT_IMAGE ?= reviews-parsing-ci:1
CANARY_URL ?= http://reviews-parsing-ner-aspects-v$(CHALLENGER)-predictor.reviews-parsing.svc

ci-check: lint

# With COVERAGE=yes in the environment, the stage measures branch coverage too, and fails below the floor.
ci-test: $(STAMP)
	$(BIN)/python -m pytest --junitxml=build/tests.xml $(if $(filter yes,$(COVERAGE)),$(PYTEST_COVERAGE))

ci-gate ci-undo: $(STAMP)
	@$(BIN)/python scripts/ci.py $(@:ci-%=%)

ci-image ci-notify:
	@$(PYTHON) scripts/ci.py $(@:ci-%=%)

ci-canary: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout start --version $(CHALLENGER) --canary $(CANARY) \
	    $(if $(SIGNED_IMAGE),--image $(SIGNED_IMAGE))

ci-deploy: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout start --image $(SIGNED_IMAGE)

ci-smoke:
	$(PYTHON) scripts/smoke.py $(CANARY_URL) --version $(CHALLENGER)

ci-promote: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout promote $(if $(WATCH),--auto --for $(WATCH))
	mkdir -p build && touch build/promoted
	$(BIN)/python -m reviews_parsing.cli promote --version $(CHALLENGER)

# deploy/services/jenkins/retrain.Jenkinsfile: RETRAIN holds triggers and recipe.
ci-retrain: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli retrain $(RETRAIN)

# deploy/services/jenkins/champion.Jenkinsfile: roll out the champion. Idempotent.
ci-champion: $(STAMP)
	$(BIN)/python -m reviews_parsing.cli rollout start $(if $(WATCH),--canary $(CANARY) --auto --for $(WATCH))

agent-image:
	$(ENGINE) build -f deploy/services/jenkins/agent/Dockerfile -t $(AGENT_IMAGE) .ci
