package experiment

import (
	"fmt"
	"slices"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// Checkpoint is a training at the end of an iteration: what BasicSR keeps in
// net_*_<iter>.pth and <iter>.state, and what it forgets.
type Checkpoint struct {
	Iter, Epoch int
	// Step counts the optimizer's steps.
	Step      int
	Params    []ParamState // in the optimizer's order
	Optimizer OptimizerState
	Scheduler SchedulerState
	// Extra is nil in a state that PyTorch wrote.
	Extra *ExtraState
}

// ParamState is one trained parameter and its moments, in PyTorch's layout.
type ParamState struct {
	Name  string // the network, then its state_dict's key: "net_g.output.weight"
	Shape []int
	Value []float32
	EMA   []float32 // the moving average of Value; nil where none is kept
	M, V  []float32 // exp_avg and exp_avg_sq
}

// OptimizerState is the param_group of torch.optim.Adam and AdamW.
type OptimizerState struct {
	LR          float64 // of the iteration just done, warmup included
	InitialLR   float64
	Betas       [2]float64
	Eps         float64
	WeightDecay float64
}

// SchedulerState is the state_dict of one of BasicSR's schedulers. We need none of it,
// since our learning rate follows from the iteration.
type SchedulerState struct {
	// Attributes are those of its class: milestones, periods and the like.
	Attributes *checkpoint.Dict
	LastLR     float64 // of the iteration just done, without warmup
}

// ExtraState is what makes our resuming exact to the bit.
type ExtraState struct {
	Seed   uint64 // of all random choices
	Sample uint64 // the sampler's position: the next sample of the run
	Best   BestResults

	Validated int // the iteration of the newest validation, which Best includes
}

// BestResults are the best values so far, by data set and metric.
type BestResults map[string]map[string]BestResult

// BestResult is a metric's best value and the first iteration that reached it.
type BestResult struct {
	Value float64
	Iter  int
}

// Update notes a result and returns the best one so far. More is better in all metrics there are.
func (b BestResults) Update(dataset, metric string, now BestResult) BestResult {
	if b[dataset] == nil {
		b[dataset] = map[string]BestResult{}
	}
	best, known := b[dataset][metric]
	if !known || now.Value > best.Value {
		b[dataset][metric] = now
		return now
	}
	return best
}

// Iters lists the iterations that reached a best value, with repetitions.
func (b BestResults) Iters() (out []int) {
	for _, metrics := range b {
		for _, best := range metrics {
			out = append(out, best.Iter)
		}
	}
	return out
}

// Networks lists the networks of params, in order of appearance.
func Networks(params []ParamState) (out []string) {
	for _, p := range params {
		if net, _, _ := strings.Cut(p.Name, "."); !slices.Contains(out, net) {
			out = append(out, net)
		}
	}
	return out
}

// saveFailed explains why there is no checkpoint of what.
func saveFailed(what string, err error) error {
	return fmt.Errorf("no checkpoint of %s, older ones are untouched: %w", what, err)
}
