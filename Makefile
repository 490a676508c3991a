PY := .venv/bin/python

.venv/.installed: pyproject.toml
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q -e '.[dev]'
	touch $@

.PHONY: test
test: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(PY) -m pytest
