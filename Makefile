PYTHON ?= python

# MONAI Label's own environment, which the first run makes.
SCSAM_LABEL_ENV ?= .venv-label

.PHONY: check format test test-real test-label figures

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

# Real EM stacks: SCSAM_TEST_DATA=FOLDER make test-real
test-real:
	@test -d "$(SCSAM_TEST_DATA)" || { echo "set SCSAM_TEST_DATA to a folder with real EM stacks"; exit 2; }
	$(PYTHON) -m pytest -m real_data

test-label:
	SCSAM_LABEL_ENV=$(SCSAM_LABEL_ENV) $(PYTHON) -m pytest tests/monai_label/app

# Figures in the documents, from benchmarks/results.
figures:
	$(PYTHON) benchmarks/tables.py --write
