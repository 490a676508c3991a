PY := .venv/bin/python
PACKAGES := analysis arch kernels

.venv/.installed: pyproject.toml
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q -e '.[dev]'
	touch $@

.PHONY: test schema
test: .venv/.installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	MYPYPATH=.typing .venv/bin/mypy --namespace-packages --explicit-package-bases $(PACKAGES:%=-p eutectic.%)
	$(PY) -m pytest

schema: .venv/.installed
	$(PY) -m eutectic.analysis.schema > results/SCHEMA.md
