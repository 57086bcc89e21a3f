package options

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// SchedulerOptions is the learning-rate schedule. Each type takes only some of the options.
type SchedulerOptions struct {
	Type           string    `yaml:"type"` // empty, as all others then: the rate is constant
	Periods        []int     `yaml:"periods,omitempty,flow"`
	RestartWeights []float64 `yaml:"restart_weights,omitempty,flow"` // 1 where absent
	EtaMins        []float64 `yaml:"eta_mins,omitempty,flow"`        // 0 where absent
	EtaMin         float64   `yaml:"eta_min,omitempty"`
	Milestones     []int     `yaml:"milestones,omitempty,flow"`
	Gamma          float64   `yaml:"gamma,omitempty"`         // 0.1 where absent
	Restarts       []int     `yaml:"restarts,omitempty,flow"` // [0] where absent
	TMax           int       `yaml:"T_max,omitempty"`
}

// The values of SchedulerOptions.Type, as BasicSR calls them.
const (
	cosineCyclic     = "CosineAnnealingRestartCyclicLR"
	cosineRestart    = "CosineAnnealingRestartLR"
	cosineTrue       = "TrueCosineAnnealingLR" // PyTorch's CosineAnnealingLR
	multiStep        = "MultiStepLR"           // the same in BasicSR
	multiStepRestart = "MultiStepRestartLR"
	linearLR         = "LinearLR"
	vibrateLR        = "VibrateLR"
)

// schedulerKeys are the options that each type takes.
var schedulerKeys = map[string][]string{
	cosineCyclic:     {"periods", "restart_weights", "eta_mins"},
	cosineRestart:    {"periods", "restart_weights", "eta_min"},
	cosineTrue:       {"T_max", "eta_min"},
	multiStep:        {"milestones", "gamma", "restarts", "restart_weights"},
	multiStepRestart: {"milestones", "gamma", "restarts", "restart_weights"},
	linearLR:         nil,
	vibrateLR:        nil,
}

func (o *SchedulerOptions) readYAML(r *optionReader, path string, n *yaml.Node) {
	r.section(path, n, reflect.ValueOf(o).Elem())
	takes, known := schedulerKeys[o.Type]
	for key, value := range members(n) {
		at := join(path, key.Value)
		switch {
		case !known || isNull(value) || key.Value == "type":
		case slices.Contains(takes, key.Value):
			if key.Value == "gamma" && o.Gamma == 0 {
				r.fail(at, "must be a number of more than 0") // 0 in Go means absent
			}
		case slices.ContainsFunc(slices.Collect(maps.Values(schedulerKeys)), func(keys []string) bool { return slices.Contains(keys, key.Value) }):
			r.fail(at, "is no option of %s", o.Type)
		}
	}
	o.complete()
}

// complete fills in what is absent.
func (o *SchedulerOptions) complete() {
	restarts := len(o.Periods)
	if o.Type == multiStep || o.Type == multiStepRestart {
		if o.Gamma == 0 {
			o.Gamma = 0.1
		}
		if o.Restarts == nil {
			o.Restarts = []int{0}
		}
		restarts = len(o.Restarts)
	}
	if o.RestartWeights == nil && restarts > 0 {
		o.RestartWeights = slices.Repeat([]float64{1}, restarts)
	}
	if o.EtaMins == nil && o.Type == cosineCyclic {
		o.EtaMins = make([]float64, len(o.Periods))
	}
}

func (o *SchedulerOptions) check(totalIter, warmupIter int, fail complaint) {
	if _, known := schedulerKeys[o.Type]; !known {
		if !reflect.ValueOf(*o).IsZero() {
			fail.oneOf("type", o.Type, slices.Sorted(maps.Keys(schedulerKeys))...)
		}
		return
	}
	for i, w := range o.RestartWeights {
		fail.notNegative(fmt.Sprintf("restart_weights[%d]", i), w)
	}
	for i, eta := range o.EtaMins {
		fail.notNegative(fmt.Sprintf("eta_mins[%d]", i), eta)
	}
	fail.notNegative("eta_min", o.EtaMin)
	agree := func(key string, n int, with string, want int) {
		if n != want {
			fail(key, "has %d numbers, and %s %d: they must agree", n, with, want)
		}
	}
	switch o.Type {
	case cosineCyclic, cosineRestart:
		end := 0
		for i, p := range o.Periods {
			fail.between(fmt.Sprintf("periods[%d]", i), p, 1, maxIter)
			end = min(end+max(p, 0), maxIter)
		}
		if len(o.Periods) == 0 {
			fail.missing("periods")
		} else if end < totalIter-1 {
			fail("periods", "end after %d iterations, and total_iter is %d: their sum must reach it", end, totalIter)
		}
		agree("restart_weights", len(o.RestartWeights), "periods", len(o.Periods))
		if o.Type == cosineCyclic {
			agree("eta_mins", len(o.EtaMins), "periods", len(o.Periods))
		}
	case cosineTrue:
		fail.between("T_max", o.TMax, 1, maxIter)
		if o.TMax > 0 && warmupIter > o.TMax {
			fail("T_max", "is %d: warmup_iter, %d, must not exceed it", o.TMax, warmupIter)
		}
	case multiStep, multiStepRestart:
		fail.positive("gamma", o.Gamma)
		for i, m := range o.Milestones {
			fail.between(fmt.Sprintf("milestones[%d]", i), m, 0, maxIter)
		}
		for i, m := range o.Restarts {
			fail.between(fmt.Sprintf("restarts[%d]", i), m, 0, maxIter)
		}
		agree("restart_weights", len(o.RestartWeights), "restarts", len(o.Restarts))
	case vibrateLR:
		if totalIter >= 1 && totalIter < vibrations*2 {
			fail("type", "is %s: it needs a total_iter of %d at least", o.Type, vibrations*2)
		}
	}
}

// Scheduler is a learning rate by iteration. It has no state: a resumed run asks for the
// iteration that it is at.
type Scheduler struct {
	o             SchedulerOptions
	base          float64
	total, warmup int
}

// NewScheduler returns the schedule of a run of totalIter iterations at the base rate, which
// rises linearly while the iteration is less than warmupIter. The error tells every option that
// is wrong.
func NewScheduler(o SchedulerOptions, base float64, totalIter, warmupIter int) (*Scheduler, error) {
	o.complete()
	var found []error
	o.check(totalIter, warmupIter, func(key, format string, args ...any) {
		found = append(found, fmt.Errorf("scheduler.%s: %s", key, fmt.Sprintf(format, args...)))
	})
	if err := errors.Join(found...); err != nil {
		return nil, err
	}
	return &Scheduler{o, base, totalIter, warmupIter}, nil
}

// LR returns the learning rate of iteration 1, 2, … of the run, as BasicSR's
// update_learning_rate(iteration) sets it: schedulers step once per iteration, from the second on.
func (s *Scheduler) LR(iteration int) float64 {
	if iteration < s.warmup {
		return s.base / float64(s.warmup) * float64(iteration)
	}
	step := max(iteration-1, 0)
	switch s.o.Type {
	case cosineCyclic, cosineRestart:
		return s.cosineRestart(step)
	case cosineTrue:
		return s.cosine(step)
	case multiStep, multiStepRestart:
		return s.multiStep(step)
	case linearLR:
		return (1 - float64(step)/float64(s.total)) * s.base
	case vibrateLR:
		return s.vibrate(step)
	}
	return s.base
}

// cosineRestart falls along half a cosine from a weight to a least rate, once per period. The
// last step of a period is its end, not the next one's start.
func (s *Scheduler) cosineRestart(step int) float64 {
	i, start := 0, 0
	for i+1 < len(s.o.Periods) && step > start+s.o.Periods[i] {
		start += s.o.Periods[i]
		i++
	}
	least := s.o.EtaMin
	if s.o.Type == cosineCyclic {
		least = s.o.EtaMins[i]
	}
	at := min(float64(step-start)/float64(s.o.Periods[i]), 1)
	return least + s.o.RestartWeights[i]*0.5*(s.base-least)*(1+math.Cos(math.Pi*at))
}

// rewarmed is the rate of the last iteration of the warm-up, and its step. PyTorch's schedulers
// that derive a rate from the one before go on from there.
func (s *Scheduler) rewarmed() (rate float64, step int) {
	return s.base / float64(s.warmup) * float64(s.warmup-1), s.warmup - 2
}

// cosine falls along half a cosine within T_max steps and rises again, for ever.
func (s *Scheduler) cosine(step int) float64 {
	height := func(step int) float64 { return 1 + math.Cos(math.Pi*float64(step)/float64(s.o.TMax)) }
	top := (s.base - s.o.EtaMin) * 0.5
	if s.warmup > 1 && step <= s.o.TMax { // the first fall
		rate, at := s.rewarmed()
		top = (rate - s.o.EtaMin) / height(at)
	}
	return s.o.EtaMin + top*height(step)
}

// multiStep is multiplied by gamma at every milestone, and set to a weight at every restart.
func (s *Scheduler) multiStep(step int) float64 {
	rate, next := s.base, 0 // next is the first step that may change the rate
	if s.warmup > 1 {
		rate, next = s.rewarmed()
		next++
	}
	last := -1
	for i, restart := range s.o.Restarts {
		if restart > last && restart >= next && restart <= step {
			last, rate = restart, s.base*s.o.RestartWeights[i]
		}
	}
	next = max(next, last+1)
	counts := map[int]int{}
	for _, m := range s.o.Milestones {
		if m >= next && m <= step {
			counts[m]++
		}
	}
	for _, m := range slices.Sorted(maps.Keys(counts)) {
		rate *= math.Pow(s.o.Gamma, float64(counts[m]))
	}
	return rate
}

// vibrations is how often VibrateLR rises and falls.
const vibrations = 80

// vibrate rises and falls in a zigzag below an envelope of three parts.
func (s *Scheduler) vibrate(step int) float64 {
	process := float64(step) / float64(s.total)
	envelope := 0.1
	if process < 3.0/8 {
		envelope = 1 - process*8/3
	} else if process < 5.0/8 {
		envelope = 0.2
	}
	period := s.total / vibrations
	half := period / 2
	t := step % period
	zigzag := float64(t) / float64(half)
	if t >= half {
		zigzag = 2 - zigzag
	}
	weight := envelope * zigzag
	if step < half {
		weight = max(0.1, weight)
	}
	return weight * s.base
}
