package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hidiff/hidiff/options"
	"hidiff/hidiff/training"
	"hidiff/tensor"
	"hidiff/trainer"
	"hidiff/wgpu"
)

type trainOptions struct {
	Options string   // a file or a preset
	Force   []string // key:key=value
	GPU     string
	Memory  byteSize

	AutoResume, Restart, Debug bool
	Keep                       int
	Accumulate                 int // 0: as the options say
	Checkpointing              string
	OnBadImage                 string
	SkipNaN, DetectAnomaly     bool
	Plan, JSON                 bool
	Launcher                   string
}

const trainLong = `Train HI-Diff, one of its two stages, as an option file of BasicSR says: the files that were
released, or one of the presets of their names.

The experiment goes into experiments/<name> and tb_logger/<name> of the current folder. Checkpoints are
what PyTorch reads and writes: training goes on from either's. Stage one trains net_g and net_le; stage
two takes them from path.pretrain_network_g and _le, and trains net_g, net_le_dm and net_d.

The first Ctrl-C, a SIGTERM or a closed terminal finishes the iteration, saves and exits; a second Ctrl-C
aborts. Resumed runs give the same
bits as if they had never stopped. Exit code: 0 done, 1 failed, 2 the command line is wrong, 130 stopped.`

const trainExample = `  hidiff train -opt GoPro_S1 --plan
  hidiff train -opt GoPro_S1 --force_yml datasets:train:dataroot_lq=blurry --force_yml datasets:train:dataroot_gt=sharp
  hidiff train -opt options/train/GoPro_S2.yml --auto_resume --keep 3
  hidiff train -opt my.yml --accumulate 4 --checkpointing true`

func newTrainCommand(a *app, run func(context.Context, *trainOptions) error) *cobra.Command {
	o := &trainOptions{}
	c := &cobra.Command{
		Use:     "train -opt OPTIONS",
		Short:   "Train the networks, stage one or two",
		Long:    trainLong,
		Example: trainExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Options, "opt", "", "option file, or a preset: "+strings.Join(presets(true), ", ")+" (also -opt)")
	f.StringArrayVar(&o.Force, "force_yml", nil, "set an option, as train:total_iter=1000; may be repeated")
	addGPUFlag(c, &o.GPU)
	f.Var(&o.Memory, "memory", "GPU memory to use at most, such as 8GiB")
	f.BoolVar(&o.AutoResume, "auto_resume", false, "go on from the newest checkpoint, if there is one")
	f.BoolVar(&o.Restart, "restart", false, "put an experiment of this name aside, and start anew")
	f.BoolVar(&o.Debug, "debug", false, "print every iteration, validate and save every 8")
	f.IntVar(&o.Keep, "keep", 0, "checkpoints to keep, beside the best; 0 is all")
	f.IntVar(&o.Accumulate, "accumulate", 0, "batches whose gradients make one step (default: train.accumulate, or 1)")
	f.StringVar(&o.Checkpointing, "checkpointing", "", "true, false or auto: compute blocks again in the backward pass, to save memory (default: train.checkpointing, or auto)")
	f.StringVar(&o.OnBadImage, "on-bad-image", "", "skip or fail, where a photo cannot be read (default: fail)")
	f.BoolVar(&o.SkipNaN, "skip-nan", false, "pass over iterations with gradients that are not finite, and report them")
	f.BoolVar(&o.DetectAnomaly, "detect-anomaly", false, "find the operator that first computes a NaN; slow")
	f.BoolVar(&o.Plan, "plan", false, "print memory and estimated time of each phase, and stop")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a line to standard output")
	f.StringVar(&o.Launcher, "launcher", "none", "none: one GPU trains")
	must(c.RegisterFlagCompletionFunc("opt", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return presets(true), cobra.ShellCompDirectiveDefault
	}))
	return c
}

// presets are those to train with, or to test with.
func presets(toTrain bool) []string {
	return slices.DeleteFunc(options.Presets(), func(name string) bool { return strings.Contains(name, "_S") != toTrain })
}

func (o *trainOptions) validate() error {
	switch {
	case o.Options == "":
		return usagef("say what to train: -opt with an option file, or a preset: %s", strings.Join(presets(true), ", "))
	case o.Launcher != "none":
		return usagef("--launcher %s: one process trains on one GPU; --accumulate makes its steps as large as several GPUs'", o.Launcher)
	case o.AutoResume && o.Restart:
		return usagef("--auto_resume and --restart exclude each other")
	case o.Keep < 0:
		return usagef("--keep %d: it must be at least 0", o.Keep)
	case o.Accumulate < 0:
		return usagef("--accumulate %d: it must be at least 1", o.Accumulate)
	}
	for _, f := range []struct {
		flag, value string
		words       []string
	}{{"checkpointing", o.Checkpointing, []string{"auto", "true", "false"}}, {"on-bad-image", o.OnBadImage, []string{"skip", "fail"}}} {
		if f.value != "" && !slices.Contains(f.words, f.value) {
			return usagef("--%s %s: it must be %s", f.flag, f.value, strings.Join(f.words, ", "))
		}
	}
	return nil
}

// settings are --force_yml, and what other flags stand for.
func (o *trainOptions) settings() []options.Setting {
	s := forced(o.Force)
	add := func(option, flag, value string) {
		if value != "" {
			s = append(s, options.Setting{Option: option + "=" + value, From: "--" + flag + " " + value})
		}
	}
	if o.Accumulate > 0 {
		add("train:accumulate", "accumulate", fmt.Sprint(o.Accumulate))
	}
	add("train:checkpointing", "checkpointing", o.Checkpointing)
	add("datasets:train:on_bad_image", "on-bad-image", o.OnBadImage)
	return s
}

// forced are the settings of --force_yml.
func forced(flags []string) (s []options.Setting) {
	for _, option := range flags {
		s = append(s, options.Setting{Option: option, From: "--force_yml " + option})
	}
	return s
}

func (a *app) train(ctx context.Context, o *trainOptions) error {
	file, err := options.Load(o.Options, o.settings())
	if err != nil {
		return err
	}
	if o.Debug {
		file.Debug()
	}
	r := trainer.RunOptions{
		Options: file, AutoResume: o.AutoResume, Restart: o.Restart, Keep: o.Keep,
		SkipNaN: o.SkipNaN, DetectAnomaly: o.DetectAnomaly, Screen: a.stderr, Terminal: a.screen != nil,
	}
	if o.JSON {
		r.JSON = a.stdout
	}
	t, err := training.New(r)
	if err != nil {
		return err
	}
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()})
	if err != nil {
		return err
	}
	defer d.Close()
	if o.Plan {
		p, err := t.Plan(ctx, d)
		if err != nil {
			return err
		}
		return a.printTrainPlan(p, file.Name, d.Adapter().Name, o.JSON)
	}
	err = advised(t.Run(ctx, d), file.Name)
	if errors.Is(err, trainer.ErrStopped) {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return ctx.Err()
	}
	return err
}

// advised adds to an error of training what flags there are for it.
func advised(err error, experiment string) error {
	var advice []string
	for _, a := range []struct {
		of   error
		text string
	}{
		{trainer.ErrNotFinite, "find the operator with --detect-anomaly, or pass over such iterations with --skip-nan"},
		{trainer.ErrExists, "--auto_resume goes on from there; --restart starts anew and keeps the folder as " + experiment + "_archived_<time>"},
		{trainer.ErrPutAside, "leave out --restart to go on from it"},
		{syscall.ENOSPC, "make room, and set --keep to keep only the newest checkpoints"},
		{trainer.ErrSaved, "--auto_resume goes on from there"},
	} {
		if errors.Is(err, a.of) {
			advice = append(advice, a.text)
		}
	}
	if advice == nil {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(advice, "; "))
}

// trainPlanLine is a phase in train --plan --json. Sizes are in bytes.
type trainPlanLine struct {
	Event         string  `json:"event"` // phase
	Start         int     `json:"start"`
	Iterations    int     `json:"iterations"`
	GTSize        int     `json:"gt_size"`
	MiniBatchSize int     `json:"mini_batch_size"`
	Peak          int64   `json:"peak_bytes"`
	Checkpointing bool    `json:"checkpointing"`
	Dispatches    int     `json:"dispatches"`
	Work          float64 `json:"flops"`
	Seconds       float64 `json:"seconds"`
}

func (a *app) printTrainPlan(p trainer.Plan, name, gpu string, json bool) error {
	if json {
		for _, s := range p.Phases {
			line := trainPlanLine{"phase", s.Start, s.Iterations, s.GTSize, s.MiniBatchSize, s.Peak, s.Checkpointing, s.Dispatches, s.Work, s.Duration.Seconds()}
			if err := printJSON(a.stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %d parameters on %s\n", name, p.Parameters, gpu)
	fmt.Fprintf(a.stdout, "%10s %10s %8s %6s %12s %11s %10s %14s\n", "from", "iterations", "gt_size", "batch", "GPU memory", "recomputes", "dispatches", "time (about)")
	var total time.Duration
	for _, s := range p.Phases {
		fmt.Fprintf(a.stdout, "%10d %10d %8d %6d %12s %11s %10d %14s\n", s.Start, s.Iterations, s.GTSize, s.MiniBatchSize,
			wgpu.FormatBytes(s.Peak), yes(s.Checkpointing), s.Dispatches, roughly(s.Duration))
		total += s.Duration
	}
	_, err := fmt.Fprintf(a.stdout, "together about %s\n", roughly(total))
	return err
}

// roughly prints a duration in its two largest units.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
