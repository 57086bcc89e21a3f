// Package training trains HI-Diff as an option file says. It makes of the file a stage, networks and
// the weights to begin with; what package trainer, which knows no network, does with them is its.
package training

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/tensor"
	"hidiff/trainer"
)

// Training is a run that is still to be planned or made.
type Training struct {
	run    trainer.RunOptions
	stage  int
	config hidiff.Config
	nets   map[hidiff.Network]*checkpoint.StateDict // to begin with
	notes  []string                                 // what of them is not as the options say
}

// New finds out what can be known without a device or weights: that the options describe a stage
// of training and networks that fit, and that the experiment's files can be written. Of o, Build
// and Device are set later.
func New(o trainer.RunOptions) (*Training, error) {
	if o.Train == nil {
		return nil, fmt.Errorf("%s has no section train: it is for testing", o.File)
	}
	stage, config, err := hidiff.ConfigOf(o.Options)
	if err := errors.Join(o.Validate(), err); err != nil {
		return nil, err
	}
	if err := o.CheckOutputs(); err != nil {
		return nil, err
	}
	t := &Training{run: o, stage: stage, config: config}
	t.run.Build = t.build
	return t, nil
}

// Run reads the weights that the options name, and trains: see [trainer.Run]. What the user should
// know of these weights is among the run's warnings.
func (t *Training) Run(ctx context.Context, d *tensor.Device) error {
	if err := t.load(ctx); err != nil {
		return err
	}
	o := *t.run.Options
	o.Warnings = append(slices.Clone(o.Warnings), t.notes...)
	r := t.run
	r.Options, r.Device = &o, d
	return trainer.Run(ctx, r)
}

// Plan says what the training takes on a device: see [trainer.NewPlan]. It needs no files.
func (t *Training) Plan(ctx context.Context, d *tensor.Device) (trainer.Plan, error) {
	t.draw()
	r := t.run
	r.Device = d
	return trainer.NewPlan(ctx, r)
}

// draw has all networks begin by chance.
func (t *Training) draw() {
	t.notes, t.nets = nil, hidiff.InitialWeights(t.config, uint64(t.run.ManualSeed)).Nets
}

// load puts the networks that the options name in the place of those drawn by chance.
func (t *Training) load(ctx context.Context) error {
	t.draw()
	nets := t.config.Trained(t.stage)
	if t.stage == 2 {
		nets = append([]hidiff.Network{hidiff.NetLE}, nets...)
	}
	for _, net := range nets {
		from, err := FindPretrained(t.run.Options, net)
		switch {
		case err != nil:
			return err
		case from.File == "" && t.stage == 2 && net == hidiff.NetLE:
			return fmt.Errorf("%s: stage two needs the net_le that stage one trained", from.Option)
		case from.File == "":
			continue
		case from.Note != "":
			t.notes = append(t.notes, from.Note)
		}
		if err := t.read(ctx, net, from); err != nil {
			return err
		}
	}
	return nil
}

// read takes a network from a file; where that need not be strict, what fits.
func (t *Training) read(ctx context.Context, net hidiff.Network, from Pretrained) error {
	file, err := checkpoint.Open(ctx, from.File)
	if err != nil {
		return err
	}
	state, err := hidiff.FindNetwork(file, net, from.ParamKey)
	if err != nil {
		if state, err = hidiff.FindNetwork(file, net, ""); err != nil {
			return err
		}
		t.notes = append(t.notes, fmt.Sprintf("%s has no %s: what it has is used", from.File, from.ParamKey))
	}
	specs := t.config.Parameters(net)
	if from.Strict {
		if err := hidiff.Check(specs, state); err != nil {
			return fmt.Errorf("%s: %s: %w", from.File, net, err)
		}
		t.nets[net] = state
		return nil
	}
	taken := 0
	for _, p := range specs {
		if a, ok := state.Get(p.Name); ok && slices.Equal(a.Shape, p.Shape) {
			t.nets[net].Set(p.Name, a)
			taken++
		}
	}
	t.notes = append(t.notes, fmt.Sprintf("%s: %d of %s's %d parameters fit; the others start anew", from.File, taken, net, len(specs)))
	return nil
}

func (t *Training) build(d *tensor.Device) (trainer.Model, error) {
	o := hidiff.TrainingOptions{Stage: t.stage}
	var err error
	if o.Pixel, err = t.run.Train.PixelOpt.Loss(); err == nil && t.stage == 2 {
		o.PixelDiff, err = t.run.Train.PixelDiffOpt.Loss()
	}
	if err != nil {
		return nil, err
	}
	return hidiff.NewTraining(d, t.config, t.nets, o)
}
