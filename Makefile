# A thin front: meson builds, tests/all tests. `make run` and `make test` need nothing installed but make.
BUILD     ?= build
PORT      ?= 7717
DATA      ?= $(BUILD)/data
JOBS      ?= $(shell nproc)
MESON_REL  = --buildtype=release -Db_ndebug=false
MESON_SAN  = --buildtype=debugoptimized -Db_lundef=false

.PHONY: help build run stop test test-asan test-tsan fuzz bench bench-peers bench-load bench-again format lint packages clean

help:
	@echo 'make run        install what is missing, build, start trackwayd, load sample events, ask the first questions'
	@echo 'make stop       end the server that make run started'
	@echo 'make test       build and pass every test; the last line counts them'
	@echo 'make build      $(BUILD)/server/trackwayd, $(BUILD)/client/trackway, $(BUILD)/bench/trackway-bench'
	@echo 'make test-asan  unit, property and crash tests under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make test-tsan  the same under ThreadSanitizer'
	@echo 'make fuzz       every decoder of foreign bytes under libFuzzer (FUZZ_SECONDS each)'
	@echo 'make bench      the figures of bench/RESULTS.md on this machine'
	@echo 'make bench-peers  the same questions to ClickHouse and DuckDB (npm packages that only this command fetches), EVENTS=10000000'
	@echo 'make bench-again questions that come again while events arrive, with kept answers and without'
	@echo 'make bench-load 64 and 256 connections of a dashboard, with and without one that asks the dearest query in a loop'
	@echo 'make format     clang-format over the tree'

packages:
	@.ci/packages.sh

$(BUILD)/build.ninja: | packages
	@meson setup $(BUILD) $(MESON_REL) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }; rm -f $(BUILD).log

build: packages $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS) --quiet

run: build
	@PORT=$(PORT) DATA=$(DATA) BUILD=$(BUILD) .ci/demo

stop:
	@DATA=$(DATA) .ci/demo stop

test: build
	@BUILD=$(BUILD) JOBS=$(JOBS) tests/all

build-asan/build.ninja: | packages
	@meson setup build-asan $(MESON_SAN) -Db_sanitize=address,undefined >/dev/null

build-tsan/build.ninja: | packages
	@meson setup build-tsan $(MESON_SAN) -Db_sanitize=thread >/dev/null

test-asan: build-asan/build.ninja
	@BUILD=build-asan JOBS=$(JOBS) tests/all sanitizer

test-tsan: build-tsan/build.ninja
	@BUILD=build-tsan JOBS=$(JOBS) tests/all sanitizer

fuzz: packages
	@tests/fuzz/run

bench: build
	@BUILD=$(BUILD) bench/run

bench-peers: build
	@BUILD=$(BUILD) bench/peers/run

bench-load: build
	@BUILD=$(BUILD) bench/load/run

bench-again: build
	@BUILD=$(BUILD) bench/again/run

format:
	@git ls-files '*.c' '*.h' '*.cc' | xargs clang-format -i

clean:
	rm -rf $(BUILD) build-asan build-tsan build-fuzz
