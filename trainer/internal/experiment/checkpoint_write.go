package experiment

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// network returns what BasicSR's save_network writes: {"params": state_dict}, and
// "params_ema" where a moving average is kept.
func (c *Checkpoint) network(net string) (*checkpoint.Dict, error) {
	params, ema := checkpoint.NewStateDict(), checkpoint.NewStateDict()
	for _, p := range c.Params {
		of, key, _ := strings.Cut(p.Name, ".")
		if of != net {
			continue
		}
		params.Set(key, checkpoint.NewArray(p.Shape, p.Value))
		if p.EMA != nil {
			ema.Set(key, checkpoint.NewArray(p.Shape, p.EMA))
		}
	}
	file := checkpoint.NewDict("params", params)
	switch ema.Len() {
	case 0:
	case params.Len():
		file.Set("params_ema", ema)
	default:
		return nil, fmt.Errorf("%s has a moving average of %d of its %d parameters", net, ema.Len(), params.Len())
	}
	return file, nil
}

// state returns what BasicSR's save_training_state writes with PyTorch 1.13, and
// under "hidiff" what only we read.
func (c *Checkpoint) state() *checkpoint.Dict {
	moments, numbers := checkpoint.NewDict(), []any{}
	for i, p := range c.Params {
		moments.Set(int64(i), checkpoint.NewDict(
			"step", checkpoint.NewArray(nil, []float32{float32(c.Step)}),
			"exp_avg", checkpoint.NewArray(p.Shape, p.M),
			"exp_avg_sq", checkpoint.NewArray(p.Shape, p.V)))
		numbers = append(numbers, int64(i))
	}
	o := c.Optimizer
	group := checkpoint.NewDict(
		"lr", o.LR, "betas", []any{o.Betas[0], o.Betas[1]}, "eps", o.Eps, "weight_decay", o.WeightDecay, "amsgrad", false,
		"foreach", nil, "maximize", false, "capturable", false, "initial_lr", o.InitialLR, "params", numbers)

	scheduler := checkpoint.NewDict()
	if c.Scheduler.Attributes != nil {
		for name, value := range c.Scheduler.Attributes.All() {
			scheduler.Set(name, value)
		}
	}
	// The scheduler first steps at iteration 2, and counts its construction as a step.
	for name, value := range checkpoint.NewDict(
		"base_lrs", []any{o.InitialLR}, "last_epoch", int64(max(c.Iter-1, 0)), "verbose", false, "_step_count", int64(max(c.Iter, 1)),
		"_get_lr_called_within_step", false, "_last_lr", []any{c.Scheduler.LastLR}).All() {
		scheduler.Set(name, value)
	}

	state := checkpoint.NewDict(
		"epoch", int64(c.Epoch), "iter", int64(c.Iter),
		"optimizers", []any{checkpoint.NewDict("state", moments, "param_groups", []any{group})},
		"schedulers", []any{scheduler})
	if c.Extra != nil {
		state.Set("hidiff", c.Extra.dict())
	}
	return state
}

func (x *ExtraState) dict() *checkpoint.Dict {
	best := checkpoint.NewDict()
	for _, dataset := range slices.Sorted(maps.Keys(x.Best)) {
		metrics := checkpoint.NewDict()
		for _, metric := range slices.Sorted(maps.Keys(x.Best[dataset])) {
			b := x.Best[dataset][metric]
			metrics.Set(metric, checkpoint.NewDict("val", b.Value, "iter", int64(b.Iter)))
		}
		best.Set(dataset, metrics)
	}
	// Integers of a Dict are signed; these keep their bits.
	return checkpoint.NewDict("seed", int64(x.Seed), "sample", int64(x.Sample), "best", best, "validated", int64(x.Validated))
}

// staged are files that are complete on disk but have not their names yet.
type staged []string // where they are to go

// stagingFolder holds them; it is beside where they go, since only within a file system
// is a rename atomic.
const stagingFolder = ".saving"

func stagingPath(path string) string {
	return filepath.Join(filepath.Dir(path), stagingFolder, filepath.Base(path))
}

// add writes one more file.
func (s *staged) add(path string, value any) error {
	temporary := stagingPath(path)
	if err := os.MkdirAll(filepath.Dir(temporary), 0o777); err != nil {
		return err
	}
	*s = append(*s, path)
	return checkpoint.WritePTH(temporary, value)
}

// commit gives the files their names, in the order of add.
func (s staged) commit() error {
	for _, path := range s {
		if err := os.Rename(stagingPath(path), path); err != nil {
			return err
		}
		syncFolder(filepath.Dir(path))
	}
	return nil
}

// discard removes what was not committed.
func (s staged) discard() {
	for _, path := range s {
		os.RemoveAll(filepath.Dir(stagingPath(path)))
	}
}

// syncFolder makes renames last through a power failure, where the system can.
func syncFolder(path string) {
	if f, err := os.Open(path); err == nil {
		_ = f.Sync()
		f.Close()
	}
}
