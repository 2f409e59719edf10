# Spanwire. `make help` lists what there is.
GO        ?= go
BIN       := bin/spanwire
FUZZTIME  ?= 30s
SEEDS     ?= 10000
SOAK      ?= 10m
SUDO      := $(if $(filter 0,$(shell id -u)),,sudo -E)

# What the tests need beside Go, as Debian names it: the judge of captures, the
# load, what boots the kernel that Spanwire is tested against, and a RADIUS server.
TEST_PACKAGES  := gcc libc6-dev iperf3 tshark qemu-system-x86 kmod iproute2 iputils-ping freeradius freeradius-utils
BENCH_PACKAGES := iperf3
PEER_PACKAGES  := openvpn tinc
WIREGUARD_GO   := golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446

.PHONY: help build demo test simulate soak bench bench-peers interop conformance fuzz lint test-packages bench-packages

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/spanwire
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o $(BIN) ./cmd/spanwire

demo: build ## Join two LANs on this machine and show it, in under 20 seconds
	./$(BIN) demo

test: test-packages ## Run all tests, with the race detector where it counts, and against the real kernel
	$(GO) vet ./...
	$(SUDO) $(GO) test -count=1 ./...
	$(SUDO) $(GO) test -count=1 -race ./bridge/... ./cmd/... ./config/... ./cookie/... ./l2tpv3/... ./pseudowire/...

simulate: ## Play every scenario of the control protocols with SEEDS (10000) seeds
	$(GO) test -count=1 -timeout 60m -v -run '^TestSim$$' ./l2tpv3/control ./l2tpv3/l2tpv2 -seeds $(SEEDS)

soak: ## Have two hosts talk for SOAK (10m) amid troubles of all kinds, and check every octet
	$(SUDO) nice -n 10 $(GO) run ./testbed/soak -length $(SOAK)

interop: test-packages ## Print the matrices against the Linux kernel's own L2TPv3, and against xl2tpd and pppd
	$(SUDO) $(GO) test -count=1 -v -run 'Kernel' ./testbed/interop/...

conformance: ## Write the tables that say which test shows which MUST of RFC 3931
	$(GO) run ./testbed/conformance

bench: bench-packages build ## Measure next to kernel vxlan, over a plain veth and over one like a wire
	$(SUDO) $(GO) run ./testbed/bench -spanwire $(BIN) -json bin/bench.json -svg testbed/bench/bench.svg

bench-peers: ## Install what make bench also measures where it is there: wireguard-go, openvpn, tinc
	$(call install,$(PEER_PACKAGES))
	GOBIN=$(CURDIR)/bin $(GO) install $(WIREGUARD_GO)
	mv bin/wireguard bin/wireguard-go

fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@for target in $$($(GO) list -f '{{$$d := .Dir}}{{range .TestGoFiles}}{{$$d}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$$d}}/{{.}} {{end}}' ./... | xargs grep -Ho '^func Fuzz[A-Za-z0-9_]*' | sed 's/:func /:/'); do \
		dir=$$(dirname $${target%%:*}); name=$${target##*:}; echo "$$name in $$dir"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$dir || exit 1; \
	done

lint: ## go vet and staticcheck with all its checks
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

# Install what is missing, or say exactly what to install.
define install
	@missing=; for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "please install (Debian names):$$missing"; exit 1; fi
endef

test-packages:
	$(call install,$(TEST_PACKAGES))

bench-packages:
	$(call install,$(BENCH_PACKAGES))
