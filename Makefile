# vrwkv: thin front of CMake. `make help` lists the targets.
BUILD ?= build
GENERATOR := $(shell command -v ninja >/dev/null 2>&1 && echo -G Ninja)
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: all deps demo test soak bench bench-peers install asan debug fuzz mpi help
all: ## build build/vrwkv and the library (needs the packages of `make deps`)
	@cmake -S . -B $(BUILD) $(GENERATOR) -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >$(BUILD).log || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD) -j $(JOBS)

deps: ## install the packages (Debian, Ubuntu); needs root or sudo
	@sh scripts/deps.sh

demo: deps all ## from a fresh machine to an answer about a picture
	@sh scripts/demo.sh $(BUILD)

test: deps ## from a fresh machine to a green test run (<= 10 minutes on 2 cores)
	@sh tests/run.sh

soak: deps ## long runs: fuzzing (10 minutes a parser), valgrind, thread checks
	@sh tests/soak.sh

bench: all ## limits of this machine, then speed of each phase with its share of them
	@$(BUILD)/vrwkv bench

bench-peers: deps all ## beside other programs (installs them in build/, isolated; RWKV_CPP=checkout of rwkv.cpp)
	@python3 bench/peers/tokenizer.py
	@python3 bench/peers/llama_cpp.py
	@python3 bench/peers/rwkv_cpp.py $(RWKV_CPP) || [ $$? -eq 77 ]

install: all ## install below PREFIX (default /usr/local)
	@cmake --install $(BUILD)

asan debug fuzz mpi: ## other builds, in build/asan, build/debug, build/fuzz, build/mpi (training by several processes)
	@cmake --preset $@ $(GENERATOR) >/dev/null && cmake --build --preset $@ -j $(JOBS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## /{printf "make %-22s %s\n", $$1, $$2}' Makefile
