# make playground    the main job; needs only Go
# make test          everything that must hold: Go with -race, TypeScript, a real browser, the image
# make help          the rest

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The program that the tests of the TypeScript client and of the pages start.
export GENBROWSER_BIN := $(CURDIR)/tmp/genbrowser

.PHONY: help playground test lint test-go portable deps generated test-js test-e2e image compare compare-durable compare-cluster compare-rpc bench bench-go bench-growth bench-storm bench-js build fuzz soak

help: ## show what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

playground: ## run the playground on http://127.0.0.1:8080; ARGS="--listen tcp://:9000" and so on
	go run ./cmd/genbrowser playground $(ARGS)

test: lint portable test-go deps generated test-js test-e2e ## everything that must hold
	@echo "all passed"

lint: ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	cd bench/rpc && go vet . # a module of its own: who uses ours need not know gRPC

portable: ## the systems that cannot be run here at least compile
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...
	GOOS=linux GOARCH=arm64 go build -o /dev/null ./...

test-go: ## Go, with the race detector
	go test -race -count=1 -timeout 10m $$(go list ./... | grep -v /e2e)

build: ## the program, in tmp/
	go build -o $(GENBROWSER_BIN) ./cmd/genbrowser

deps: ## what the tests of TypeScript need: npm's packages, and Chromium
	npm ci --no-audit --no-fund
	@scripts/chromium

generated: ## the bundles fit their sources, and are small enough
	npm run --silent build
	git diff --exit-code -- js-client/dist examples/playground/pages || { echo "generated files differ: commit what npm run build made"; exit 1; }
	npm run --silent check
	npm run --silent size
	npm run --silent test:pack

test-js: build ## the TypeScript client and the pages, on Node and in Chromium
	npm test
	npm run --silent test:playground

test-e2e: build ## the program under load, killed, in an empty root
	go test -count=1 -timeout 10m ./e2e

soak: build ## the long forms: a node killed 200 times, a million messages, clusters killed and cut for longer
	GENBROWSER_SOAK=1 go test -count=1 -v -timeout 60m -run 'TestKilled$$|TestManyMailboxes|TestCluster' ./e2e

fuzz: ## fuzz each target for a while; FUZZTIME=1m
	go test ./address -run '^$$' -fuzz FuzzParse -fuzztime $${FUZZTIME:-20s}
	go test ./address -run '^$$' -fuzz FuzzVerify -fuzztime $${FUZZTIME:-20s}
	go test ./mailbox -run '^$$' -fuzz FuzzParseCursor -fuzztime $${FUZZTIME:-20s}
	go test ./mailbox -run '^$$' -fuzz FuzzParseRecord -fuzztime $${FUZZTIME:-20s}
	go test ./internal/jsonscan -run '^$$' -fuzz FuzzValid -fuzztime $${FUZZTIME:-20s}
	go test ./web -run '^$$' -fuzz FuzzParseLine -fuzztime $${FUZZTIME:-20s}
	go test ./web -run '^$$' -fuzz FuzzFastLane -fuzztime $${FUZZTIME:-20s}

# what bench/cluster.sh, as one server of bench/compare, is started with
CLUSTER := bench/cluster.sh $(GENBROWSER_BIN) tmp/nats-server {dir} --listen=tcp4://127.0.0.1:8101

compare: build ## the load of docs/performance.md beside nginx+nchan and a bare net/http server; ARGS="-n 1000 -b 32"
	go run ./bench/compare -program $(GENBROWSER_BIN) $(ARGS)

compare-durable: build ## the same load with and without --data; ARGS="-r 3 -s 4"
	go run ./bench/compare -k "" -pin=false -w 64,256 -s 4 -idle 500ms \
		-server "memory=$(GENBROWSER_BIN) serve" \
		-server "always=$(GENBROWSER_BIN) serve --data {dir}" \
		-server "interval=$(GENBROWSER_BIN) serve --data {dir} --sync interval" $(ARGS)

compare-cluster: build ## the same load on one node and on three; ARGS="-r 3 -s 4", SCHED=--other for the usual policy
	go build -o tmp/nats-server github.com/nats-io/nats-server/v2
	go build -o tmp/compare ./bench/compare
	chrt $(or $(SCHED),--batch) 0 tmp/compare -k "" -pin=false -w 64,256 -s 4 -idle 500ms -settle 4s \
		-server "one=$(CLUSTER)" \
		-server "three=$(CLUSTER) --listen=tcp4://127.0.0.1:8102 --listen=tcp4://127.0.0.1:8103" $(ARGS)

compare-rpc: ## calls and casts of peers beside net/rpc and gRPC; ARGS="-d 2s -rounds 3"
	cd bench/rpc && go run . $(ARGS)

bench: bench-go ## all that is measured, in a short form: five minutes
	$(MAKE) --no-print-directory compare ARGS="-s 2 -r 1"
	$(MAKE) --no-print-directory compare ARGS="-s 2 -r 1 -k genbrowser -b 32"
	$(MAKE) --no-print-directory compare ARGS="-s 2 -r 1 -k genbrowser -b 32 -load -one"
	$(MAKE) --no-print-directory compare ARGS="-s 2 -r 1 -k genbrowser -b 32 -load -upload"
	$(MAKE) --no-print-directory compare ARGS="-s 5 -r 1 -load '-rate 2000'"
	$(MAKE) --no-print-directory bench-growth ARGS="-s 2 -r 1"
	$(MAKE) --no-print-directory bench-storm
	@echo "One short round says little. The long forms: make bench-go BENCHTIME=1s; make compare ARGS=\"-r 5\" and so on,"
	@echo "as docs/performance.md says; make bench-growth; compare-durable, compare-cluster, compare-rpc; make soak"

bench-go: ## each step of a message's way, with Go's benchmarks; BENCHTIME=1s
	go test -run '^$$' -bench . $(if $(BENCHTIME),,-skip Sleeping) -benchmem -benchtime $(or $(BENCHTIME),100ms) ./address ./mailbox/... ./internal/... ./server ./web

bench-growth: build ## what messages and idle streams cost among 1,000, 5,000 and 18,000 streams, beside nchan
	go run ./bench/compare -program $(GENBROWSER_BIN) -k "nchan genbrowser" -n 1000,5000,18000 $(ARGS)

bench-storm: build ## 10,000 clients that come back at once while others send; ARGS="-rate 2000 -- --backlog 100"
	go build -o tmp/storm ./bench/storm
	GOMAXPROCS=1 taskset -c 1 tmp/storm -program $(GENBROWSER_BIN) $(ARGS)

bench-js: build ## the TypeScript client beside EventSource, on Node and in Chromium: five minutes
	npm run --silent bench

image: ## the container image, with docker, podman or buildah
	@if docker info >/dev/null 2>&1; then docker build -t genbrowser .; \
	elif command -v podman >/dev/null; then podman build --format docker -t genbrowser .; \
	elif command -v buildah >/dev/null; then buildah bud --format docker -t genbrowser .; \
	else echo "make image needs docker, podman or buildah"; exit 1; fi
