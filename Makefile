# Run `make` for a list of what there is.
.POSIX:
.SUFFIXES:

FUZZTIME    = 60s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What `make demo` restores, and with which weights.
PHOTO   = conformance/testdata/end_to_end/gopro_tiny_astronaut_101x131.png
WEIGHTS = conformance/testdata/checkpoints/gopro_tiny
RESULT  = bin/demo/astronaut_restored.png

# Where `make train-default` keeps its data, and how it blurs photos.
DATA = datasets/small
BLUR = --strength 2:24 --noise 0:1.5 --jpeg 90:100

.PHONY: help build demo setup test race lint fuzz bench train-default clean

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
	@echo 'make train-default  train the model that is built in, from photos to hidiff/models (docs/MODEL.md)'
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

# Every step goes on where it was interrupted. Training takes hours on a GPU, days on a CPU.
train-default: build
	trainer/recipe/fetch $(DATA)/photos
	bin/hidiff synth $(DATA)/photos/train -o $(DATA)/train --seed 100 --crop 192 --per-photo 100 --downscale 1.5:3 --sharp 0.1 $(BLUR)
	bin/hidiff synth $(DATA)/photos/val -o $(DATA)/val --seed 300 --crop 160 --per-photo 3 --downscale 1:1.5 --sharp 0.1 $(BLUR)
	bin/hidiff synth $(DATA)/photos/test -o $(DATA)/test --seed 200 --crop 256 --per-photo 6 --downscale 1.5:3 --sharp 0 $(BLUR)
	bin/hidiff train -opt Small_S1 --auto_resume
	bin/hidiff train -opt Small_S2 --auto_resume
	bin/hidiff eval -opt Small --baseline unsharp,richardson-lucy
	bin/hidiff convert experiments/train_HI_Diff_Small_S2/models -o hidiff/models/small.safetensors --f16 --force \
		--metadata hidiff.description='camera shake, trained by this project on synthetic blur: docs/MODEL.md' --metadata hidiff.license=Apache-2.0

clean:
	rm -rf bin
