package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
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
	f.StringVar(&o.Options, "opt", "", "option file, or a preset: "+strings.Join(trainPresets(), ", ")+" (also -opt)")
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
		return trainPresets(), cobra.ShellCompDirectiveDefault
	}))
	return c
}

// trainPresets are the presets of training.
func trainPresets() (names []string) {
	for _, name := range trainer.Presets() {
		if strings.Contains(name, "_S") {
			names = append(names, name)
		}
	}
	return names
}

func (o *trainOptions) validate() error {
	switch {
	case o.Options == "":
		return usagef("say what to train: -opt with an option file, or a preset: %s", strings.Join(trainPresets(), ", "))
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
		if f.value != "" && !contains(f.words, f.value) {
			return usagef("--%s %s: it must be %s", f.flag, f.value, strings.Join(f.words, ", "))
		}
	}
	return nil
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}

// forced adds to --force_yml what other flags stand for.
func (o *trainOptions) forced() []string {
	force := append([]string{}, o.Force...)
	if o.Accumulate > 0 {
		force = append(force, fmt.Sprintf("train:accumulate=%d", o.Accumulate))
	}
	if o.Checkpointing != "" {
		force = append(force, "train:checkpointing="+o.Checkpointing)
	}
	if o.OnBadImage != "" {
		force = append(force, "datasets:train:on_bad_image="+o.OnBadImage)
	}
	return force
}

func (a *app) train(ctx context.Context, o *trainOptions) error {
	options, err := trainer.Load(o.Options, o.forced())
	if err != nil {
		return err
	}
	if options.Train == nil {
		return fmt.Errorf("%s has no section train: it is for testing", options.File)
	}
	if o.Debug {
		options.Debug()
	}
	stage, config, err := trainingConfig(options)
	if err != nil {
		return err
	}
	start := startingWeights{options: options, config: config, stage: stage}
	r := trainer.RunOptions{
		Options: options, AutoResume: o.AutoResume, Restart: o.Restart, Keep: o.Keep,
		SkipNaN: o.SkipNaN, DetectAnomaly: o.DetectAnomaly, Screen: a.stderr, Terminal: a.screen != nil,
		Build: func(d *tensor.Device) (trainer.Model, error) { return start.build(d) },
	}
	if o.JSON {
		r.JSON = a.stdout
	}
	if err := r.CheckOutputs(); err != nil {
		return err
	}
	if r.Device, err = tensor.Open(wgpu.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()}); err != nil {
		return err
	}
	defer r.Device.Close()
	if o.Plan {
		start.blank = true
		return a.trainPlan(r, o.JSON)
	}
	if err := start.load(); err != nil {
		return err
	}
	options.Warnings = append(options.Warnings, start.notes...)
	err = trainer.Run(ctx, r)
	if errors.Is(err, trainer.ErrStopped) {
		return fmt.Errorf("%w%w", err, silent{ctx.Err()})
	}
	return err
}

// silent wraps an error so that it is found, but says nothing more.
type silent struct{ error }

func (s silent) Error() string { return "" }
func (s silent) Unwrap() error { return s.error }

// trainingConfig returns which stage the options train, and the networks.
func trainingConfig(o *trainer.Options) (stage int, c hidiff.Config, err error) {
	stage = 1
	if o.ModelType == trainer.HIDiffS2 {
		stage = 2
	}
	var s hidiff.Sections
	if err := errors.Join(o.NetworkG.Decode(&s.G), o.NetworkLE.Decode(&s.LE)); err != nil {
		return stage, c, err
	}
	if stage == 2 {
		if err := errors.Join(o.NetworkLEDM.Decode(&s.LEDM), o.NetworkD.Decode(&s.D), o.Diffusion.Decode(&s.Diffusion)); err != nil {
			return stage, c, err
		}
	}
	c, err = s.Config(stage)
	if err != nil {
		return stage, c, fmt.Errorf("%s: %w", o.Name, err)
	}
	return stage, c, nil
}

// startingWeights are what training begins with.
type startingWeights struct {
	options *trainer.Options
	config  hidiff.Config
	stage   int
	blank   bool // all of it drawn by chance: a plan needs no files
	nets    map[hidiff.Network]*checkpoint.StateDict
	notes   []string // what the user should know of what was loaded
}

// load draws all networks by chance, and reads those that the options name.
func (s *startingWeights) load() error {
	s.nets = hidiff.InitialWeights(s.config, uint64(s.options.ManualSeed)).Nets
	if s.blank {
		return nil
	}
	nets := s.config.Trained(s.stage)
	if s.stage == 2 {
		nets = append([]hidiff.Network{hidiff.NetLE}, nets...)
	}
	for _, net := range nets {
		from := s.options.Path.Pretrained(string(net))
		if from.File == "" {
			if s.stage == 2 && net == hidiff.NetLE {
				return errors.New("path.pretrain_network_le: stage two needs the net_le that stage one trained")
			}
			continue
		}
		path, note, err := trainer.FindPretrained(from.File, s.options.Name, string(net))
		if err != nil {
			return fmt.Errorf("path.pretrain_network_%s: %w", strings.TrimPrefix(string(net), "net_"), err)
		}
		if note != "" {
			s.notes = append(s.notes, note)
		}
		if err := s.read(net, path, from); err != nil {
			return err
		}
	}
	return nil
}

// read takes a network from a file; where that need not be strict, what fits.
func (s *startingWeights) read(net hidiff.Network, path string, from trainer.Pretrained) error {
	file, err := checkpoint.Open(context.Background(), path)
	if err != nil {
		return err
	}
	state, err := hidiff.FindNetwork(file, net, from.ParamKey)
	if err != nil {
		if state, err = hidiff.FindNetwork(file, net, ""); err != nil {
			return err
		}
		s.notes = append(s.notes, fmt.Sprintf("%s has no %s: what it has is used", path, from.ParamKey))
	}
	specs := s.config.Parameters(net)
	if from.Strict {
		if err := hidiff.Check(specs, state); err != nil {
			return fmt.Errorf("%s: %s: %w", path, net, err)
		}
		s.nets[net] = state
		return nil
	}
	taken := 0
	for _, p := range specs {
		if a, ok := state.Get(p.Name); ok && fmt.Sprint(a.Shape) == fmt.Sprint(p.Shape) {
			s.nets[net].Set(p.Name, a)
			taken++
		}
	}
	s.notes = append(s.notes, fmt.Sprintf("%s: %d of %s's %d parameters fit; the others start anew", path, taken, net, len(specs)))
	return nil
}

func (s *startingWeights) build(d *tensor.Device) (trainer.Model, error) {
	if s.nets == nil {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	o := hidiff.TrainingOptions{Stage: s.stage}
	var err error
	if o.Pixel, err = s.options.Train.PixelOpt.Loss(); err == nil && s.stage == 2 {
		o.PixelDiff, err = s.options.Train.PixelDiffOpt.Loss()
	}
	if err != nil {
		return nil, err
	}
	return hidiff.NewTraining(d, s.config, s.nets, o)
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

func (a *app) trainPlan(r trainer.RunOptions, json bool) error {
	p, err := trainer.NewPlan(r)
	if err != nil {
		return err
	}
	if json {
		for _, s := range p.Phases {
			line := trainPlanLine{"phase", s.Start, s.Iterations, s.GTSize, s.MiniBatchSize, s.Peak, s.Checkpointing, s.Dispatches, s.Work, s.Duration.Seconds()}
			if err := printJSON(a.stdout, line); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %d parameters on %s\n", r.Name, p.Parameters, r.Device.Adapter().Name)
	fmt.Fprintf(a.stdout, "%10s %10s %8s %6s %12s %11s %10s %14s\n", "from", "iterations", "gt_size", "batch", "GPU memory", "recomputes", "dispatches", "time (about)")
	var total time.Duration
	for _, s := range p.Phases {
		fmt.Fprintf(a.stdout, "%10d %10d %8d %6d %12s %11s %10d %14s\n", s.Start, s.Iterations, s.GTSize, s.MiniBatchSize,
			wgpu.FormatBytes(s.Peak), yes(s.Checkpointing), s.Dispatches, roughly(s.Duration))
		total += s.Duration
	}
	_, err = fmt.Fprintf(a.stdout, "together about %s\n", roughly(total))
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
