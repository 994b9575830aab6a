# Every target prepares .venv itself and may be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GPU := $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU ' && echo yes)
DEVICE := $(if $(GPU),gpu-wheels,cpu)
STAMP := $(VENV)/.installed-$(DEVICE)
DEMO := out/demo
SCENES := scenes:n=64,size=192x384

.PHONY: help install demo plugin gpu-check test check clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

install: $(STAMP) ## make .venv with everything the other targets need

$(STAMP): pyproject.toml constraints.txt
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed \
	    --constraint constraints.txt --editable '.[export,plot,dev,$(DEVICE)]'
	touch $@

demo: $(STAMP) ## train, export, FP16, INT8, bench and report on generated street scenes
	$(BIN)/python -m train demo --out $(DEMO) --resume
	$(BIN)/python -m export.to_onnx $(DEMO)/model.pth
	$(BIN)/python -m calibration.fp16 $(DEMO)/model.onnx
	$(BIN)/python -m calibration.int8 $(DEMO)/model.onnx --data $(SCENES):train
	$(BIN)/python runtime/bench.py --onnx=$(DEMO)/model.onnx --fp16 --int8 \
	    --data=$(SCENES):val --exportTable=$(DEMO)/bench.json
	$(BIN)/python -m runtime.report $(DEMO)
	$(BIN)/python -m runtime.sample_drive $(DEMO)
	@cat docs/own-data.txt

plugin: ## build build/plugins/libemca_plugin.so; TENSORRT_ROOT names a TensorRT outside the system
	@command -v cmake >/dev/null || { echo "error: cmake is missing: apt install cmake" >&2; exit 2; }
	cmake -S plugins -B build/plugins -DTENSORRT_ROOT="$(TENSORRT_ROOT)"
	cmake --build build/plugins

gpu-check: ## prove and time the kernels on the GPU at hand; nothing is downloaded
	PYTHONPATH=. $(or $(wildcard $(BIN)/python),$(PYTHON)) benchmarks/gpu_check.py

# A run for each stage, as in use: torch, onnxruntime and OpenVINO each bring their own threads. Its
# tests are shared among processes, in which one thread each is enough; those of WHOLE share one result.
PARTS := emca segdata plugins train export calibration runtime test_baselines.py test_gpu_check.py \
    test_docs.py test_engines.py test_pages.py test_docker.py test_cpp_cmake.py
WHOLE := test_pipeline.py test_cpp.py
SHARED := -n auto --maxprocesses 4 --dist worksteal
test: $(STAMP) ## prove the code
	set -e; export OMP_NUM_THREADS=1; \
	    for part in $(PARTS); do $(BIN)/python -m pytest $(SHARED) tests/$$part; done; \
	    for part in $(WHOLE); do $(BIN)/python -m pytest tests/$$part; done

check: $(STAMP) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy emca segdata calibration plugins runtime
	$(BIN)/lint-imports

clean: ## remove what the targets made; your own runs in out/ stay
	rm -rf $(VENV) $(DEMO) build
