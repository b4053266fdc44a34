# make help lists what there is.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
PKG     ?= ./...
TIME    ?= 20s
# Empty where this is no git checkout: the program then says what Go knows of it.
# git shortens by how many commits a clone has; two clones shall agree.
VERSION ?= $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null)

# The version comes in by -ldflags; Go's own stamp fails where git is not there
# or does not trust the folder.
export GOFLAGS += -buildvcs=false

LDFLAGS := -X main.version=$(VERSION)
TOOLS   := .tools/ready
RELEASE_TOOLS := .tools/release/ready

.PHONY: help
help: ## List the targets
	@echo "Usage: make TARGET"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: worker localaws ## Build bin/analytics-worker and bin/localaws

.PHONY: worker
worker:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/analytics-worker ./cmd/analytics-worker

# DuckDB comes as a static library, so this program is linked by a C++ compiler.
.PHONY: localaws
localaws:
	@scripts/need-cc
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/localaws ./cmd/localaws

# The race detector doubles what the tests cost, and triples what a virtual clock does. So
# they run without it here, and all packages with it in test-race. PKG= runs what it
# names, with the detector, and no more.
.PHONY: test
test: ## Run every test, and make simulate with a few seeds (PKG=./internal/... for some tests, with the race detector)
	@scripts/need-cc
	@scripts/need-postgres
	@scripts/need-promtool
	@GO='$(GO)' MAKE='$(MAKE)' APART='$(SIMULATED)' scripts/test '$(PKG)'

# Of the simulation, those whose loads come one after another, and those that try the
# judge of fleets like the others': what the detector could find in them it finds in the
# others.
ONE_BY_ONE := TestALoadsTimeGrowsWithItsRows|TestG2_G6_G7_LoadsDoWhatTheModelDoes|TestARefusalSaysWhatRowsItIsAbout|TestG2_G4_SnapshotsBeforeTheLock|TestATableThatTakesNoneOfItsRowsDoesNotEmptyTheStream|TestTheOracleFindsEachBrokenPromise|TestTheOracleMissesTheSharedRow

.PHONY: test-race
test-race: ## Run every package's tests with the race detector; of the simulation, one or two of each kind
	@scripts/need-cc
	@scripts/need-postgres
	@scripts/need-promtool
	GORACE=atexit_sleep_ms=10 CGO_ENABLED=1 scripts/tested $(GO) test -race -shuffle=on -p 3 -parallel 6 -timeout 25m -skip '^($(ONE_BY_ONE))$$' \
		./cmd/analytics-worker ./internal/simulation ./...

# Apart from the others, as Chromium is large. The pictures are kept for CI.
.PHONY: test-browser
test-browser: ## Look at the dashboard with headless Chromium and axe-core (pictures in .screenshots)
	@scripts/need-chromium
	@scripts/need-axe
	@rm -rf .screenshots
	AXE="$${AXE:-$(CURDIR)/.tools/axe/node_modules/axe-core/axe.min.js}" SCREENSHOTS='$(CURDIR)/.screenshots' CGO_ENABLED=0 $(GO) test -tags browser -count=1 -timeout 10m -v ./internal/admin/browsertest

# Apart from the others, as they need the machine for themselves: the CPU is held at
# targets, and it is measured how well.
SLOW := TestTheCPUIsHeld|TestAStormWithoutAWarehouse|TestTwoStormsOfOneSeedAgree|TestAMillionRowsTakeNoMoreMemory

.PHONY: test-slow
test-slow: ## Hold the CPU at 30, 60 and 90 % by Query Storm; its memory, its checksum (about 5 minutes; nothing else may run)
	@scripts/need-cc
	CGO_ENABLED=1 scripts/tested $(GO) test -tags slow -count=1 -timeout 15m -v ./cmd/analytics-worker -run '^($(SLOW))$$' \
		| { grep --line-buffered -v -e '^=== ' || true; }

# The whole of what make test does in short.
LONG := TestTroubles|TestTroublesOfEachPermission|TestG1_G2_TheOneThatLoadsIsKilled|TestTheFleetIsSeenFromAnywhere

.PHONY: test-long
test-long: ## All sixteen troubles; status of 200 shards; who loads for the fleet killed every 5 s for 3 minutes
	@scripts/need-cc
	CGO_ENABLED=1 scripts/tested $(GO) test -tags slow -count=1 -timeout 30m -v ./cmd/analytics-worker -run '^($(LONG))$$' \
		| { grep --line-buffered -v -e '^=== ' || true; }

# Needs root: it makes a small Debian with debootstrap, once, and boots it with its
# systemd in namespaces of its own. The scaling policies are tried on workers alone.
.PHONY: test-deploy
test-deploy: ## Install, upgrade, roll back and remove the worker on machines made for it (root); scale it
	@GO='$(GO)' deploy/test/run

.PHONY: test-peers
test-peers: ## Try leases and stream reading on dynalite and kinesis-local too (npm)
	@scripts/need-cc
	@GO='$(GO)' scripts/peers

# A seed is 20 schedules. Most of the time is DuckDB's; memory that it gives back
# to the kernel and asks for again at once is a fifth of that, so it keeps it.
KEEP_MEMORY := GOGC=400 DUCKDB_JE_MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1 \
	MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864

# What go test -v prints of tests that pass.
PASSED := -e '^=== ' -e '    --- PASS'

# The simulation's tests that take seeds and crash points.
SIMULATED := TestSimulation|TestG2_CrashAtEveryCall|TestG2_TheLoaderCrashesAtEveryCall|TestManyWorkersAreAsQuickAsOne|TestTheOracleFindsWhatALoaderCanBreak

.PHONY: simulate
simulate: ## Simulate seeds 1 to SEEDS (SEEDS=100, 2,000 schedules), crash at every n-th call (CRASHES=1)
	@scripts/need-cc
	$(KEEP_MEMORY) CGO_ENABLED=1 $(GO) test -count=1 -timeout 0 -parallel 4 -v ./internal/simulation \
		-run '^($(SIMULATED))$$' -worlds $(or $(SEEDS),100) -crashes $(or $(CRASHES),1) \
		| { grep --line-buffered -v $(PASSED) || true; }

# Virtual time makes the waits of the simulation free, and new seeds find what a
# fixed set cannot. The seed that fails is printed with the command to replay it.
.PHONY: soak
soak: ## Crash at every call, then simulate new seeds (MINUTES=30)
	@scripts/need-cc
	$(KEEP_MEMORY) CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 0 -v ./internal/simulation \
		-run '^(TestG2_CrashAtEveryCall|TestG2_TheLoaderCrashesAtEveryCall|TestSoak)$$' -crashes 1 -soak $(or $(MINUTES),30)m \
		| { grep --line-buffered -v $(PASSED) || true; }

# golangci-lint was tried and left out: it takes 200 modules and three minutes of
# two cores to build, where staticcheck and gofumpt take 40 s. Its depguard and
# forbidigo are internal/style, whose tests take a second.
.PHONY: lint
lint: lint-format lint-vet lint-style lint-shell lint-cross ## Check format, go.mod, vet, staticcheck, house rules, scripts, cross builds

.PHONY: lint-format
lint-format: $(TOOLS)
	@out=$$(.tools/gofumpt -l cmd deploy internal localaws); if [[ -n $$out ]]; then \
		echo "not formatted; run make format:"; echo "$$out"; exit 1; fi

.PHONY: lint-vet
lint-vet: $(TOOLS)
	@scripts/need-cc
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) vet -tags browser,deploy,slow ./cmd/analytics-worker ./internal/admin/browsertest
	.tools/staticcheck ./...

.PHONY: lint-style
lint-style:
	$(GO) test ./internal/style

.PHONY: lint-shell
lint-shell:
	@scripts/need-shellcheck
	shellcheck $$(scripts/list-scripts)

# The worker is one static binary for both processors of EC2: whatever would
# need cgo fails here.
.PHONY: lint-cross
lint-cross:
	@for arch in amd64 arm64; do \
		echo "build analytics-worker for linux/$$arch without cgo"; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -o /dev/null ./cmd/analytics-worker || exit 1; \
	done

.PHONY: format
format: $(TOOLS) ## Format the source
	.tools/gofumpt -w cmd deploy internal localaws

.PHONY: bench
bench: ## Run the benchmarks (PKG=, BASE=main compares with another commit)
	@scripts/need-cc
	@scripts/bench '$(PKG)' '$(BASE)'

.PHONY: demo
demo: build ## Show all of it on this machine (SECONDS=20 ends by itself, PACE=redshift takes Redshift's time)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/demo ./cmd/demo
	exec bin/demo -bin bin -seconds $(or $(SECONDS),0) -pace $(or $(PACE),engine) $(DEMO_FLAGS)

.PHONY: storm
storm: build ## Query Storm beside a worker under load, on this machine (SECONDS=60, CPU=90, PACE=)
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/demo ./cmd/demo
	exec bin/demo -storm -bin bin -rate 100 -seconds $(or $(SECONDS),60) -cpu $(or $(CPU),90) -pace $(or $(PACE),engine) $(DEMO_FLAGS)

.PHONY: fuzz
fuzz: ## Fuzz every target for TIME each (TIME=20s)
	@scripts/need-cc
	@scripts/fuzz '$(TIME)' '$(PKG)'

.PHONY: release
release: $(RELEASE_TOOLS) ## Build dist/: tarballs, deb and rpm for amd64 and arm64, checksums, SBOM, licences, notes
	@GO='$(GO)' VERSION='$(VERSION)' TOOLS='$(CURDIR)/.tools/release' scripts/release

.PHONY: clean
clean: ## Remove what was built, the tools too
	rm -rf bin dist .tools .localaws

$(TOOLS): tools/go.mod tools/go.sum
	GOBIN='$(CURDIR)/.tools' CGO_ENABLED=0 $(GO) install -C tools tool
	@touch $@

# A module of its own: nfpm and cyclonedx-gomod take 90 modules and a minute of two
# cores, which nobody who changes a line should wait for.
$(RELEASE_TOOLS): tools/release/go.mod tools/release/go.sum
	@echo "build nfpm and cyclonedx-gomod (a minute or two, once)"
	GOBIN='$(CURDIR)/.tools/release' CGO_ENABLED=0 $(GO) install -C tools/release -trimpath tool
	@touch $@
