# Run `make` for a list of what there is.
.POSIX:
.SUFFIXES:

FUZZTIME    = 60s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What `make demo` restores, and with which weights.
PHOTO   = conformance/testdata/end_to_end/gopro_tiny_astronaut_101x131.png
WEIGHTS = conformance/testdata/checkpoints/gopro_tiny
RESULT  = bin/demo/astronaut_restored.png

.PHONY: help build demo setup test race lint fuzz bench clean

help:
	@echo 'make demo    set up this machine, build, and restore a sample photo'
	@echo 'make test    run all tests'
	@echo
	@echo 'make setup   install what is missing: compiler, Go, a Vulkan driver (Debian, Ubuntu)'
	@echo 'make build   build bin/hidiff'
	@echo 'make race    run the tests of concurrent packages under the race detector'
	@echo 'make lint    gofmt, go vet, staticcheck'
	@echo 'make fuzz    fuzz the file readers, FUZZTIME=$(FUZZTIME) each'
	@echo 'make bench   time every operator and whole networks'
	@echo 'make clean   remove what was built'

build:
	go build -trimpath -o bin/hidiff ./cli/hidiff

demo: setup
	@$(MAKE) build
	@mkdir -p bin/demo
	bin/hidiff gpus
	bin/hidiff deblur -i $(PHOTO) -o $(RESULT) -m $(WEIGHTS)_net_g.pth -m $(WEIGHTS)_net_le_dm.pth -m $(WEIGHTS)_net_d.pth
	@echo
	@echo 'The photo:  $(PHOTO)'
	@echo 'The result: $(RESULT)'
	@echo 'The whole network ran, but with random weights, so the result is NOT sharp: it looks'
	@echo 'wrong on purpose. hidiff has no trained weights of its own in this version; README.md'
	@echo 'says how to use the released ones.'

setup:
	@bash .ci/setup

test:
	@for v in naga tint; do \
		command -v $$v >/dev/null || echo "note: $$v is not installed, so it will not check the shaders"; \
	done
	go test -timeout 18m ./...

race:
	go test -race -short -timeout 20m ./wgpu ./trainer ./cli

lint:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	@if go run $(STATICCHECK) -version >/dev/null 2>&1; then \
		echo 'staticcheck ./...'; go run $(STATICCHECK) ./...; \
	else \
		echo 'WARNING: staticcheck was SKIPPED: $(STATICCHECK) cannot be fetched'; \
	fi

fuzz:
	@grep -r --include='*_test.go' -E '^func Fuzz[A-Za-z0-9_]+\(' . | sed -E 's|/[^/]*:func ([A-Za-z0-9_]+).*| \1|' | sort | \
	while read -r dir name; do \
		echo "fuzzing $$dir $$name"; \
		go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$dir" </dev/null || exit 1; \
	done

bench:
	go run ./cli/hidiff bench

clean:
	rm -rf bin
