# Run `make` for a list of what there is.
.POSIX:
.SUFFIXES:

FUZZTIME    = 60s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The photo that `make demo` restores, blurry and sharp.
SAMPLE = docs/model/sample

# Where `make train-default` keeps its data.
DATA = datasets/small

# Where PyTorch is installed, for what compares with it.
PYTORCH = bin/pytorch
PYTHON  = $(PYTORCH)/bin/python

.PHONY: help build demo setup test test-short test-pytorch race lint fuzz bench bench-vs-pytorch fixtures fixtures-check train-default clean

help:
	@echo 'make demo    set up this machine, build, and restore a sample photo'
	@echo 'make test    run all tests'
	@echo 'make test-short  the same without what takes long: whole networks and every kernel of each operator against the references,'
	@echo '                 the built-in model on its sample, long training'
	@echo
	@echo 'make setup   install what is missing: compiler, Go, a Vulkan driver (Debian, Ubuntu)'
	@echo 'make build   build bin/hidiff'
	@echo 'make race    run the tests of concurrent packages under the race detector'
	@echo 'make lint    gofmt, go vet, staticcheck'
	@echo 'make fuzz    fuzz the file readers, FUZZTIME=$(FUZZTIME) each'
	@echo 'make bench   time every operator and whole networks'
	@echo 'make test-pytorch      have PyTorch and Pillow read our files'
	@echo 'make bench-vs-pytorch  time hidiff beside PyTorch (BENCH="--only forward" and more: conformance/pytorch/README.md)'
	@echo 'make fixtures          make conformance/testdata anew, with PyTorch'
	@echo 'make fixtures-check    compare conformance/testdata with what PyTorch computes'
	@echo 'make train-default  train the model that is built in, from photos to hidiff/models (docs/MODEL.md)'
	@echo 'make clean   remove what was built'

build:
	go build -trimpath -o bin/hidiff ./cli/hidiff

demo: setup
	@$(MAKE) build
	bin/hidiff gpus
	@rm -rf bin/results/demo
	cd bin && ./hidiff eval --input ../$(SAMPLE)/input --target ../$(SAMPLE)/target --name demo --protocol basicsr
	@echo
	@echo 'Restored:     bin/results/demo/visualization/sample/astronaut_demo.png'
	@echo 'Side by side: bin/results/demo/report/images/1/1-side-by-side.jpg (blurry, restored, sharp)'
	@echo 'PSNR and SSIM above are its own after restoring; beside them, those of the blurry photo.'

setup:
	@bash .ci/setup

test:
	@for v in naga tint; do \
		command -v $$v >/dev/null || echo "note: $$v is not installed, so it will not check the shaders"; \
	done
	go test -timeout 18m ./...
	go build -tags lmdb -o /dev/null ./cli/hidiff
	go test -tags lmdb -run LMDB ./trainer/...

test-short:
	go test -short ./...

race:
	go test -race -short -timeout 20m ./wgpu ./trainer/... ./cli ./hidiff/serve

lint:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags lmdb ./...
	@if go run $(STATICCHECK) -version >/dev/null 2>&1; then \
		echo 'staticcheck ./...'; go run $(STATICCHECK) ./... && go run $(STATICCHECK) -tags lmdb ./...; \
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

# The three tests that skip where there is no PyTorch or Pillow.
test-pytorch:
	conformance/pytorch/install $(PYTORCH)
	PATH="$(CURDIR)/$(PYTORCH)/bin:$$PATH" REQUIRE_PYTORCH=1 \
		go test -count 1 -run 'TestTorch|TestPillowReads' ./trainer/... ./hidiff/checkpoint ./hidiff/photo

bench-vs-pytorch: build
	conformance/pytorch/install $(PYTORCH)
	$(PYTHON) conformance/pytorch/bench.py $(BENCH)

fixtures:
	conformance/pytorch/install $(PYTORCH)
	$(PYTHON) conformance/pytorch/make_fixtures.py

fixtures-check:
	conformance/pytorch/install $(PYTORCH)
	$(PYTHON) conformance/pytorch/make_fixtures.py --check

# Every step but the evaluation, of some minutes, goes on where it was interrupted. Training took five hours on two CPU cores.
train-default: build
	trainer/recipe/fetch $(DATA)/photos
	trainer/recipe/pairs bin/hidiff $(DATA) train_s1 train_s2 val test
	bin/hidiff train -opt Small_S1 --auto_resume
	bin/hidiff train -opt Small_S2 --auto_resume
	bin/hidiff eval -opt Small --baseline unsharp,richardson-lucy
	bin/hidiff convert experiments/train_HI_Diff_Small_S2/models -o hidiff/models/small.safetensors --f16 --force \
		--metadata hidiff.description='slight shake and defocus, trained by this project on synthetic blur: docs/MODEL.md' --metadata hidiff.license=Apache-2.0

clean:
	rm -rf bin
