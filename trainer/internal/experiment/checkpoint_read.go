package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// Load reads a training state, ours or PyTorch's own, and the networks saved
// with it: net_*_<iter>.pth in ../models or beside the state. It is to continue with
// params: of these, only names and shapes are looked at. Where anything does not fit, one
// error lists it all.
func Load(statePath string, params []ParamState) (*Checkpoint, error) {
	value, err := loadState(statePath)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{}
	for _, p := range params {
		c.Params = append(c.Params, ParamState{Name: p.Name, Shape: p.Shape})
	}
	optimizer, err := c.readState(value)
	if err != nil {
		return nil, fmt.Errorf("%s: not a training state: %w", statePath, err)
	}
	if err := c.readNetworks(statePath); err != nil {
		return nil, err
	}
	if err := c.readMoments(optimizer); err != nil {
		return nil, fmt.Errorf("%s: %w", statePath, err)
	}
	return c, nil
}

// CheckState fails where a file is no training state.
func CheckState(path string) error {
	_, err := loadState(path)
	return err
}

// loadState reads a training state, and says of what is none what it is, and which may have been meant.
func loadState(path string) (any, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no training state %s (%w)%s", path, fs.ErrNotExist, nearestState(path))
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder: a training state is a file such as %s%s", path, stateName(1000), nearestState(path))
	}
	value, err := checkpoint.LoadPickle(path)
	if top, ok := value.(*checkpoint.Dict); err == nil && ok && dictItem(top, "optimizers") != nil {
		return value, nil
	}
	if _, notWeights := checkpoint.Open(context.Background(), path); notWeights == nil {
		return nil, fmt.Errorf("%s holds weights, not a training state such as %s%s", path, stateName(1000), nearestState(path))
	}
	return value, err
}

var numberAtEnd = regexp.MustCompile(`([0-9]+)[^0-9]*$`)

// nearestState is ": did you mean x?" for the state of the iteration that a path names, or else the newest, of the
// experiment that the path is of.
func nearestState(path string) string {
	dir := filepath.Dir(path)
	for _, folder := range []string{path, filepath.Join(path, "training_states"), dir, filepath.Join(dir, "training_states"), filepath.Join(filepath.Dir(dir), "training_states")} {
		iters, err := stateIters(folder)
		if err != nil || len(iters) == 0 {
			continue
		}
		best := iters[len(iters)-1]
		if m := numberAtEnd.FindStringSubmatch(filepath.Base(path)); m != nil {
			if named, err := strconv.Atoi(m[1]); err == nil && slices.Contains(iters, named) {
				best = named
			}
		}
		return fmt.Sprintf(": did you mean %s?", filepath.Join(folder, stateName(best)))
	}
	return ""
}

// readState reads all but moments, and returns the optimizer's state_dict, which has them.
func (c *Checkpoint) readState(value any) (*checkpoint.Dict, error) {
	r := &pickleReader{}
	top := asType[*checkpoint.Dict](r, "the file", value)
	c.Iter, c.Epoch = r.count(top, "iter"), r.count(top, "epoch")
	optimizer := r.only(top, "optimizers")
	group := r.only(optimizer, "param_groups")
	if dictItem(group, "amsgrad") == true {
		r.fail(errors.New("its optimizer uses amsgrad, which hidiff does not have"))
	}
	c.Optimizer = OptimizerState{
		LR:          r.number(group, "lr"),
		InitialLR:   r.number(group, "initial_lr"),
		Eps:         r.number(group, "eps"),
		WeightDecay: r.number(group, "weight_decay"),
	}
	betas := r.numbers(group, "betas")
	if len(betas) != 2 {
		r.fail(errors.New(`"betas" is not a pair`))
	}
	copy(c.Optimizer.Betas[:], betas)

	scheduler := r.only(top, "schedulers")
	last := r.numbers(scheduler, "_last_lr")
	if len(last) != 1 {
		r.fail(errors.New(`"_last_lr" is not one number`))
	}
	if r.err != nil {
		return nil, r.err
	}
	c.Scheduler = SchedulerState{Attributes: checkpoint.NewDict(), LastLR: last[0]}
	for key, value := range scheduler.All() {
		switch key {
		case "base_lrs", "last_epoch", "verbose", "_step_count", "_get_lr_called_within_step", "_last_lr":
		default:
			c.Scheduler.Attributes.Set(key, value)
		}
	}
	if extra, ours := top.Get("hidiff"); ours {
		c.Extra = r.extra(asType[*checkpoint.Dict](r, `"hidiff"`, extra))
	}
	return optimizer, r.err
}

func (r *pickleReader) extra(d *checkpoint.Dict) *ExtraState {
	x := &ExtraState{
		Seed:   uint64(asType[int64](r, `"seed"`, dictItem(d, "seed"))),
		Sample: uint64(asType[int64](r, `"sample"`, dictItem(d, "sample"))),
		Best:   BestResults{},
	}
	if dictItem(d, "validated") != nil { // not in the first states of hidiff
		x.Validated = r.count(d, "validated")
	}
	for dataset, metrics := range r.entries(dictItem(d, "best")) {
		for metric, entry := range r.entries(metrics) {
			b := asType[*checkpoint.Dict](r, metric, entry)
			x.Best.Update(dataset, metric, BestResult{Value: r.number(b, "val"), Iter: r.count(b, "iter")})
		}
	}
	return x
}

// readNetworks fills in values and moving averages.
func (c *Checkpoint) readNetworks(statePath string) error {
	files := map[string]*checkpoint.File{}
	var missing []string
	for _, net := range Networks(c.Params) {
		base := fmt.Sprintf("%s_%d.pth", net, c.Iter)
		folder := filepath.Dir(statePath)
		file, err := checkpoint.Open(context.Background(), filepath.Join(filepath.Dir(folder), "models", base))
		if errors.Is(err, fs.ErrNotExist) {
			file, err = checkpoint.Open(context.Background(), filepath.Join(folder, base))
		}
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, base)
			continue
		}
		if err != nil {
			return err
		}
		files[net] = file
	}
	if missing != nil {
		return fmt.Errorf("%s: the networks saved with it are missing: put %s into %s, or resume from another state",
			statePath, strings.Join(missing, " and "), filepath.Join(filepath.Dir(filepath.Dir(statePath)), "models"))
	}

	d := differences{}
	for _, net := range Networks(c.Params) {
		weights, err := files[net].Weights("params")
		if err != nil {
			return err
		}
		left := weights.Keys()
		average := files[net].Groups["params_ema"]
		for i := range c.Params {
			p := &c.Params[i]
			of, key, _ := strings.Cut(p.Name, ".")
			if of != net {
				continue
			}
			left = slices.DeleteFunc(left, func(k string) bool { return k == key })
			array, _ := weights.Get(key)
			p.Value = d.values(p.Name, "", p.Shape, array)
			if average != nil {
				array, _ := average.Get(key)
				p.EMA = d.values(p.Name, " in params_ema", p.Shape, array)
			}
		}
		for _, key := range left {
			d.add("%s.%s: only in the checkpoint", net, key)
		}
	}
	if err := d.err(); err != nil {
		return fmt.Errorf("%s: the networks saved with it are not those of the options: %w", statePath, err)
	}
	return nil
}

// readMoments fills in M and V. PyTorch numbers parameters in the optimizer's order, and
// keeps nothing for those that never had a gradient.
func (c *Checkpoint) readMoments(optimizer *checkpoint.Dict) error {
	r := &pickleReader{}
	moments := asType[*checkpoint.Dict](r, `"state"`, dictItem(optimizer, "state"))
	numbers := r.numbers(r.only(optimizer, "param_groups"), "params")
	if r.err != nil {
		return r.err
	}
	if len(numbers) != len(c.Params) {
		return fmt.Errorf("its optimizer has %d parameters, the options make %d: resume with the options it was trained with", len(numbers), len(c.Params))
	}
	c.Step = -1
	d := differences{}
	for i := range c.Params {
		p := &c.Params[i]
		entry, known := moments.Get(int64(numbers[i]))
		if !known {
			p.M, p.V = make([]float32, len(p.Value)), make([]float32, len(p.Value))
			continue
		}
		one := asType[*checkpoint.Dict](r, "a parameter's state", entry)
		step := r.count(one, "step")
		first := asType[*checkpoint.Array](r, `"exp_avg"`, dictItem(one, "exp_avg"))
		second := asType[*checkpoint.Array](r, `"exp_avg_sq"`, dictItem(one, "exp_avg_sq"))
		if r.err != nil {
			return fmt.Errorf("%s: %w", p.Name, r.err)
		}
		if c.Step >= 0 && step != c.Step {
			return fmt.Errorf("%s had %d steps of the optimizer, others %d: hidiff cannot continue from parameters frozen for a time", p.Name, step, c.Step)
		}
		c.Step = step
		p.M = d.values(p.Name, " in exp_avg", p.Shape, first)
		p.V = d.values(p.Name, " in exp_avg_sq", p.Shape, second)
	}
	c.Step = max(c.Step, 0)
	if err := d.err(); err != nil {
		return fmt.Errorf("its optimizer's parameters are not those of the options: %w", err)
	}
	return nil
}

// differences lists how a checkpoint differs from the parameters.
type differences []string

func (d *differences) add(format string, args ...any) { *d = append(*d, fmt.Sprintf(format, args...)) }

// values returns an array's values, or nil and a difference.
func (d *differences) values(name, where string, shape []int, array *checkpoint.Array) []float32 {
	switch {
	case array == nil:
		d.add("%s: missing%s", name, where)
	case !slices.Equal(array.Shape, shape):
		d.add("%s: %v%s instead of %v", name, array.Shape, where, shape)
	default:
		return array.Float32s()
	}
	return nil
}

func (d differences) err() error {
	const most = 8
	if len(d) == 0 {
		return nil
	}
	text := strings.Join(d[:min(len(d), most)], "; ")
	if len(d) > most {
		text += fmt.Sprintf("; and %d more", len(d)-most)
	}
	return errors.New(text)
}
