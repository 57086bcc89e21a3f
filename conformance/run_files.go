package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/options"
	"hidiff/internal/reference"
)

func (r *runner) file(path string) error {
	switch ext := filepath.Ext(path); {
	case ext == ".safetensors":
		return r.fixture(path)
	case ext == ".pth":
		r.kind = "checkpoint"
		return r.checkpoint(path)
	case ext == ".state":
		return r.resume(path)
	case filepath.Base(path) == "lr_schedules.json":
		return r.schedules(path)
	case filepath.Base(path) == "metrics.json":
		return r.metrics(path)
	case ext == ".yml":
		r.kind = "options"
		_, err := options.Load(path, nil)
		r.result("", Diff{}, 0, err)
		return nil
	case filepath.Base(path) == "parameters.json":
		r.kind = "parameters"
		return r.parameters(path)
	}
	return fmt.Errorf("%w: %s", errUnknownKind, path)
}

// checkpoint loads a weights file. One whose name begins with bad_ must be
// refused, by the reader or by the comparison with its network's parameters.
func (r *runner) checkpoint(path string) error {
	err := loadable(path)
	if strings.HasPrefix(filepath.Base(path), "bad_") {
		if err == nil {
			return errors.New("accepted, but it is bad")
		}
		err = nil
	}
	r.result("", Diff{}, 0, err)
	return nil
}

func loadable(path string) error {
	file, err := checkpoint.Open(context.Background(), path)
	if err != nil {
		return err
	}
	state, err := file.Weights("")
	if err != nil {
		return err
	}
	specs, err := recognized(state)
	if err != nil {
		return err
	}
	return hidiff.Check(specs, state)
}

// recognized returns the parameters of the network that a state dict is of.
func recognized(state *checkpoint.StateDict) ([]hidiff.ParameterSpec, error) {
	_, config, err := hidiff.Recognize(state)
	if err != nil {
		return nil, err
	}
	return config.(interface{ Parameters() []hidiff.ParameterSpec }).Parameters(), nil
}

// parameterRow is [key, shape, scale, offset].
type parameterRow struct {
	key           string
	shape         []int
	scale, offset float64
}

func (p *parameterRow) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.key, &p.shape, &p.scale, &p.offset})
}

// parameters checks what Recognize makes of the names and shapes in a file: the same
// parameters in the same order, and the values they are filled with.
func (r *runner) parameters(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var listed map[string]map[hidiff.Network][]parameterRow
	if err := json.Unmarshal(raw, &listed); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		for _, net := range slices.Sorted(maps.Keys(listed[name])) {
			r.result(name+" "+string(net), Diff{}, 0, sameParameters(listed[name][net]))
		}
	}
	return nil
}

// maxListed bounds the parameters that a list may ask to be allocated.
const maxListed = 1 << 28

func sameParameters(rows []parameterRow) error {
	state, total := checkpoint.NewStateDict(), 0
	for _, row := range rows {
		n, err := elements(row.shape)
		if total += n; err != nil || n > maxListed || total > maxListed {
			return fmt.Errorf("%s has shape %v: that is too large", row.key, row.shape)
		}
		state.Set(row.key, checkpoint.NewArray(row.shape, make([]float32, n)))
	}
	specs, err := recognized(state)
	if err != nil {
		return err
	}
	if err := hidiff.Check(specs, state); err != nil {
		return err
	}
	for i, p := range specs {
		if p.Name != rows[i].key {
			return fmt.Errorf("parameter %d is %s, want %s", i, p.Name, rows[i].key)
		}
		scale, offset := reference.FillRange(p.Name, p.Shape)
		if math.Abs(scale-rows[i].scale) > 1e-12 || offset != rows[i].offset {
			return fmt.Errorf("%s is filled with scale %g and offset %g, want %g and %g", p.Name, scale, offset, rows[i].scale, rows[i].offset)
		}
	}
	return nil
}
