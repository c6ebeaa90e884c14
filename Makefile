# The commands of every day, by short names.
.PHONY: setup train test check docs

setup:
	pip install -e ".[dev]"

train:
	python scripts/train.py

test:
	pytest

check:
	bash .ci/check

docs: # their links lead somewhere, and their code runs
	pytest tests/test_docs.py
