PYTHON ?= python

# MONAI Label's own environment, which the first run makes.
SCSAM_LABEL_ENV ?= .venv-label

.PHONY: check format test test-label

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

test-label:
	SCSAM_LABEL_ENV=$(SCSAM_LABEL_ENV) $(PYTHON) -m pytest tests/monai_label/app
