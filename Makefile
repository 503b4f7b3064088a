# The front door. Each target says what it needs (.ci/packages), has it installed, and calls the tool
# that does the work; there is nothing here that cannot be run by hand.

PREFIX  ?= /usr/local
DESTDIR ?=
LAB     ?=
SOAK    ?=
DEMO    ?=
JOBS    ?= $(shell nproc)

FUZZ_SECONDS ?= 20
export FUZZ_SECONDS

build = build/release
# A node of the next wire version, which the lab upgrades a region to.
next = build/next

.PHONY: help deps build demo test conformance bench lint fmt fuzz lab soak install package clean
.DEFAULT_GOAL := help

help:
	@echo "dray: a peer-to-peer cache for container image layers"
	@echo
	@echo "  make demo      a registry far away, a tracker, two offices, people who pull  (DEMO=--stay: look on)"
	@echo "  make test      builds and tests everything: units, faults, real clients, sanitizers"
	@echo
	@echo "  make conformance  the OCI checks, side by side: a registry, the tracker before it, a node"
	@echo
	@echo "  make build     dray-node, dray-tracker and dray-sim, in $(build)"
	@echo "  make install   program, systemd unit, user, /etc/dray/node.yaml  (PREFIX, DESTDIR)"
	@echo "  make package   the same as a .deb, in build/package"
	@echo
	@echo "  make lint      clang-format, clang-tidy, cppcheck, the rules of the house"
	@echo "  make fmt       formats the C sources"
	@echo "  make fuzz      every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)) seconds"
	@echo "  make bench     side by side with nginx, Varnish and docker-registry: docs/benchmarks.md"
	@echo "  make lab       whole regions in network namespaces: cuts, crashes, upgrades (LAB=NAME: one of them)"
	@echo "  make soak      real clients pull a thousand times while nodes and one of two trackers are killed"
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
	@cmake --build $(build) -j $(JOBS) --target programs

demo: build
	@.ci/deps demo
	@/usr/bin/python3 -B tests/demo/demo.py --node $(build)/dray-node --tracker $(build)/dray-tracker $(DEMO)

test:
	@.ci/deps build test
	@tests/run.sh $(JOBS)

conformance: build
	@.ci/deps test
	@DRAY_NODE=$(CURDIR)/$(build)/dray-node DRAY_TRACKER=$(CURDIR)/$(build)/dray-tracker \
		/usr/bin/python3 -B tests/e2e/test_conformance.py

bench: build
	@.ci/deps bench
	@cmake --build $(build) -j $(JOBS) --target dray-load dray-fill-store dray-crowd
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
	@.ci/deps lab
	@cmake --preset release -B $(next) -DDRAY_WIRE_VERSION=2 --log-level=WARNING >/dev/null
	@cmake --build $(next) -j $(JOBS) --target dray-node
	@/usr/bin/python3 -B tests/lab/run.py --node $(build)/dray-node --next $(next)/dray-node \
		--logs $(build)/lab-logs $(LAB)

soak: build
	@.ci/deps test
	@/usr/bin/python3 -B tests/soak/soak.py --node $(build)/dray-node --tracker $(build)/dray-tracker \
		--logs $(build)/soak-logs --out $(build)/soak.json $(SOAK)

install: build
	@DESTDIR='$(DESTDIR)' cmake --install $(build) --prefix '$(PREFIX)'
	@[ -n '$(DESTDIR)' ] || node/package/postinst configure

package: build
	@.ci/deps package
	@cd $(build) && cpack -G DEB -B ../package

clean:
	rm -rf build
