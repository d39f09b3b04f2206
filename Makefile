# make up    everything from nothing to a running system, until Ctrl-C
# make test  lint, types, all tests
# make ci-X  a stage of the Jenkinsfile; see below
# make lock  pin the newest dependencies that pyproject.toml allows

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: up test lint lock clean
.PHONY: agent-image ci-check ci-test ci-image ci-gate ci-canary ci-smoke ci-promote ci-undo ci-notify

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
