package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
	"hidiff/internal/bench"
	"hidiff/tensor"
	"hidiff/wgpu"
)

type benchOptions struct {
	GPU    string
	Memory byteSize
	Sizes  []string
	Crops  []string
	Runs   int
	Only   string
	JSON   bool

	Kernels bool
	Variant string
}

// variants are the kernels of linear maps that --variant can force.
var variants = []string{"tiled", "direct", "windowed", "few", "rows"}

func newBenchCommand(a *app, run func(context.Context, *benchOptions) error) *cobra.Command {
	o := &benchOptions{}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time operators, whole networks and training on a GPU",
		Long: `Time every operator at the shapes it has in the released networks, then the whole networks
with made-up weights, then iterations of training. GFLOP/s count what the network asks for; GB/s count each operand once.

--only times one workload alone, of those that hidiff is compared with PyTorch by:
  forward             GoPro's networks restore a photo of 256x256
  step                an iteration of GoPro's stage one, 1 crop of 64x64
  stage-two-step      an iteration of GoPro's stage two, 1 crop of 64x64
  small-step          an iteration of stage one of the model that is built in, 4 crops of 64x64
  forward-720p        GoPro's networks restore a photo of 1280x720
  stage-two-step-256  an iteration of GoPro's stage two, 8 crops of 256x256

--kernels breaks that workload down by kernel, with the GPU's own clock.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Only != "" && (c.Flags().Changed("size") || c.Flags().Changed("crops")) {
				return usagef("--only %s has a shape of its own: leave out --size and --crops", o.Only)
			}
			switch {
			case o.Kernels && o.Only == "":
				return usagef("--kernels breaks one workload down: name it with --only")
			case o.Variant != "" && !o.Kernels:
				return usagef("--variant %s changes what --kernels times: add that", o.Variant)
			case o.Variant != "" && !slices.Contains(variants, o.Variant):
				return usagef("--variant %s: it must be %s", o.Variant, strings.Join(variants, ", "))
			}
			return run(c.Context(), o)
		},
	}
	addGPUFlag(c, &o.GPU)
	c.Flags().Var(&o.Memory, "memory", "GPU memory to use at most, such as 1.5GiB")
	c.Flags().StringSliceVar(&o.Sizes, "size", []string{"256x256"}, "photo sizes for the networks, WIDTHxHEIGHT")
	c.Flags().StringSliceVar(&o.Crops, "crops", []string{"1x64"}, "batches to train on, COUNTxPIXELS")
	c.Flags().IntVar(&o.Runs, "runs", 3, "runs of a network; the median counts")
	c.Flags().StringVar(&o.Only, "only", "", "time this workload alone")
	c.Flags().BoolVar(&o.Kernels, "kernels", false, "time each kernel of that workload")
	c.Flags().StringVar(&o.Variant, "variant", "", "have all linear maps take this kernel where it can serve: "+strings.Join(variants, ", "))
	c.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object a line")
	return c
}

// workload is networks at work: they restore a photo, or are trained.
type workload struct {
	Name   string        `json:"workload"`
	Config hidiff.Config `json:"config"`
	Stage  int           `json:"stage"` // of training; 0 where a photo is restored
	Count  int           `json:"count"` // crops in a batch
	Width  int           `json:"width"`
	Height int           `json:"height"`
}

// workloads are all that the options ask for; photos come first.
func (o *benchOptions) workloads() ([]workload, error) {
	if o.Only != "" {
		return o.only()
	}
	released := []workload{{Name: "GoPro", Config: hidiff.GoPro()}, {Name: "RealBlur", Config: hidiff.RealBlur()}}
	var all []workload
	for _, s := range o.Sizes {
		var width, height int
		if _, err := fmt.Sscanf(s, "%dx%d", &width, &height); err != nil || min(width, height) < 1 {
			return nil, usagef("--size %s is no size: write WIDTHxHEIGHT, such as 1280x720", s)
		}
		for _, w := range released {
			w.Count, w.Width, w.Height = 1, width, height
			all = append(all, w)
		}
	}
	for _, s := range o.Crops {
		var count, size int
		if _, err := fmt.Sscanf(s, "%dx%d", &count, &size); err != nil || count < 1 || size < 8 || size%8 != 0 {
			return nil, usagef("--crops %s is no batch: write COUNTxPIXELS with a multiple of 8, such as 16x128", s)
		}
		for _, w := range released {
			for w.Stage = 1; w.Stage <= 2; w.Stage++ {
				w.Count, w.Width, w.Height = count, size, size
				all = append(all, w)
			}
		}
	}
	return all, nil
}

// only is the workload of that name.
func (o *benchOptions) only() ([]workload, error) {
	preset, err := options.Load("Small_S1", nil)
	if err != nil {
		return nil, err
	}
	_, small, err := hidiff.ConfigOf(preset)
	if err != nil {
		return nil, err
	}
	named := []workload{
		{"forward", hidiff.GoPro(), 0, 1, 256, 256},
		{"step", hidiff.GoPro(), 1, 1, 64, 64},
		{"stage-two-step", hidiff.GoPro(), 2, 1, 64, 64},
		{"small-step", small, 1, 4, 64, 64},
		{"forward-720p", hidiff.GoPro(), 0, 1, 1280, 720},
		{"stage-two-step-256", hidiff.GoPro(), 2, 8, 256, 256},
	}
	var names []string
	for _, w := range named {
		if w.Name == o.Only {
			return []workload{w}, nil
		}
		names = append(names, w.Name)
	}
	return nil, usagef("--only %s is no workload: there are %s", o.Only, strings.Join(names, ", "))
}

func (a *app) bench(ctx context.Context, o *benchOptions) error {
	works, err := o.workloads()
	if err != nil {
		return err
	}
	if o.Runs < 1 {
		return usagef("--runs %d is too few", o.Runs)
	}
	if o.Kernels {
		return a.benchKernels(ctx, o, works[0])
	}
	r := &benchReport{w: a.stdout, json: o.JSON}
	if o.Only == "" {
		if err := a.benchOperators(ctx, o, r); err != nil {
			return err
		}
	}
	for _, w := range works {
		line, err := a.benchWorkload(ctx, o, w)
		if err != nil {
			return err
		}
		heading := "network"
		if w.Stage > 0 {
			heading = "training"
		}
		if err := r.add(heading, line); err != nil {
			return err
		}
	}
	return r.flush()
}

func (a *app) benchOperators(ctx context.Context, o *benchOptions, r *benchReport) error {
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Logger: a.logger()})
	if err != nil {
		return err
	}
	defer d.Close()
	if !r.json {
		fmt.Fprintf(a.stdout, "%v\n\n", d.Adapter())
	}
	var failed error
	err = bench.Operators(ctx, d, func(t bench.Timing) { failed = cmp.Or(failed, r.add("operator", benchLine{Timing: t})) })
	return cmp.Or(err, failed)
}

func (a *app) benchWorkload(ctx context.Context, o *benchOptions, w workload) (benchLine, error) {
	line := benchLine{workload: &w}
	if w.Stage == 0 {
		options := hidiff.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()}
		t, plan, err := bench.Network(ctx, options, w.Name, w.Config, w.Width, w.Height, o.Runs)
		line.Timing, line.Bands, line.Peak = t, plan.Bands, plan.Peak
		return line, err
	}
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()})
	if err != nil {
		return line, err
	}
	defer d.Close()
	line.Timing, line.Peak, err = bench.Training(ctx, d, w.Name, w.Config, w.Stage, w.Count, w.Width, o.Runs)
	return line, err
}

// kernelLine is what all calls of a kernel came to in one run of a workload.
type kernelLine struct {
	Kernel  string  `json:"kernel"`
	Calls   int     `json:"calls"`
	Seconds float64 `json:"seconds"`
	Flops   float64 `json:"flops"`
	Bytes   float64 `json:"bytes"`
}

func (a *app) benchKernels(ctx context.Context, o *benchOptions, w workload) error {
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Memory: int64(o.Memory), Profile: true, Logger: a.logger()})
	if err != nil {
		return err
	}
	defer d.Close()
	if !d.Features().Timestamps {
		return fmt.Errorf("%v cannot take timestamps: leave out --kernels", d.Adapter())
	}
	kernels, err := bench.Kernels(ctx, d.With(tensor.Execution{Variant: o.Variant}), w.Config, w.Stage, w.Count, w.Width, w.Height)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%s\tcalls\tms\tGFLOP/s\tGB/s\t\n", w.Name)
	for _, k := range kernels {
		l := kernelLine{k.Label, k.Calls, k.Time.Seconds(), k.Work, k.Bytes}
		if o.JSON {
			if err := printJSON(a.stdout, l); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%.3f\t%.1f\t%.2f\t\n", l.Kernel, l.Calls, l.Seconds*1e3, l.Flops/l.Seconds/1e9, l.Bytes/l.Seconds/1e9)
	}
	if o.JSON {
		return nil
	}
	return t.Flush()
}

// benchLine is what one measurement came to.
type benchLine struct {
	bench.Timing
	*workload       // none of an operator
	Bands     int   `json:"bands,omitempty"`
	Peak      int64 `json:"peak,omitempty"` // bytes of GPU memory
}

// benchReport prints lines as tables, or as JSON.
type benchReport struct {
	w       io.Writer
	json    bool
	heading string
	table   *tabwriter.Writer
}

func (r *benchReport) add(heading string, l benchLine) error {
	if r.json {
		return printJSON(r.w, l)
	}
	if heading != r.heading {
		if err := r.flush(); err != nil {
			return err
		}
		if r.table != nil {
			fmt.Fprintln(r.w)
		}
		r.heading, r.table = heading, tabwriter.NewWriter(r.w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(r.table, "%s\tshape\tms\tGFLOP/s\tGB/s\tdispatches\tbands\tGPU memory\t\n", heading)
	}
	t := l.Timing
	bands, peak := "", ""
	if l.Bands > 0 {
		bands = strconv.Itoa(l.Bands)
	}
	if l.Peak > 0 {
		peak = wgpu.FormatBytes(l.Peak)
	}
	_, err := fmt.Fprintf(r.table, "%s\t%s\t%.3f\t%.1f\t%.2f\t%.0f\t%s\t%s\t\n",
		t.Name, t.Shape, t.Seconds*1e3, t.Flops/t.Seconds/1e9, t.Bytes/t.Seconds/1e9, t.Dispatches, bands, peak)
	return err
}

func (r *benchReport) flush() error {
	if r.table == nil {
		return nil
	}
	return r.table.Flush()
}
