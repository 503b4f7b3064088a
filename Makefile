# The front door. Each target says what it needs (.ci/packages), has it installed, and calls the tool
# that does the work; there is nothing here that cannot be run by hand.

PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc)

FUZZ_SECONDS ?= 20
export FUZZ_SECONDS

build = build/release

.PHONY: help deps build demo test bench lint fmt fuzz lab install package clean
.DEFAULT_GOAL := help

help:
	@echo "dray: a peer-to-peer cache for container image layers"
	@echo
	@echo "  make demo      a real registry, a node in front of it, a real client: what the cache saves"
	@echo "  make test      builds and tests everything: units, faults, real clients, sanitizers"
	@echo
	@echo "  make build     $(build)/dray-node, $(build)/dray-sim (docs/simulator.md)"
	@echo "  make install   program, systemd unit, user, /etc/dray/node.yaml  (PREFIX, DESTDIR)"
	@echo "  make package   the same as a .deb, in build/package"
	@echo
	@echo "  make lint      clang-format, clang-tidy, cppcheck, the rules of the house"
	@echo "  make fmt       formats the C sources"
	@echo "  make fuzz      every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)) seconds"
	@echo "  make bench     side by side with nginx, Varnish and docker-registry: docs/benchmarks.md"
	@echo "  make lab       several nodes in network namespaces"
	@echo "  make deps      the Debian packages for all of this (each target asks for its own)"
	@echo "  make clean     removes build/"
	@echo
	@echo "What is missing is installed from Debian's packages; that needs root, nothing else does,"
	@echo "save for the tests with docker and containerd, which are skipped by name without it."

deps:
	@.ci/deps

build:
	@.ci/deps build
	@cmake --preset release --log-level=WARNING >/dev/null
	@cmake --build $(build) -j $(JOBS)

demo: build
	@.ci/deps demo
	@/usr/bin/python3 -B tests/demo/demo.py --node $(build)/dray-node

test:
	@.ci/deps build test
	@tests/run.sh $(JOBS)

bench: build
	@.ci/deps bench
	@/usr/bin/python3 -B tests/bench/bench.py --node $(build)/dray-node --load $(build)/dray-load \
		--fill $(build)/dray-fill-store --out docs/benchmarks.md

lint:
	@.ci/deps build lint
	@tests/lint/run.sh $(JOBS)

fmt:
	@.ci/deps lint
	@tests/lint/sources.sh | xargs clang-format -i

fuzz:
	@.ci/deps build fuzz
	@tests/fuzz/run.sh $(JOBS)

lab: build
	@if [ -x tests/lab/run ]; then tests/lab/run $(build)/dray-node; \
	else echo "lab: needs the mesh between nodes, which this version does not have yet" >&2; exit 1; fi

install: build
	@DESTDIR='$(DESTDIR)' cmake --install $(build) --prefix '$(PREFIX)'
	@[ -n '$(DESTDIR)' ] || node/package/postinst configure

package: build
	@.ci/deps package
	@cd $(build) && cpack -G DEB -B ../package

clean:
	rm -rf build
