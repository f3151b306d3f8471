.PHONY: demo eval test test-demo stores lint types docs clean environment
PYTHON ?= python3

demo: environment
	.venv/bin/jina-vllm demo

eval: environment
	.venv/bin/python examples/demo_model/evaluate.py

test: environment
	.venv/bin/python -m pytest -m "not demo and not stores"

test-demo: environment
	.venv/bin/python -m pytest -m demo

stores: environment
	.venv/bin/python -m pytest tests/stores

lint: environment
	.venv/bin/ruff check
	.venv/bin/ruff format --check

types: environment
	.venv/bin/mypy

docs: environment
	.venv/bin/python tools/render_docs.py

environment:
	@$(PYTHON) tools/environment.py

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache
