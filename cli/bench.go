package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hidiff/conformance"
	"hidiff/hidiff"
	"hidiff/tensor"
	"hidiff/wgpu"
)

type benchOptions struct {
	GPU    string
	Memory byteSize
	Sizes  []string
	Crops  []string
	Runs   int
}

func newBenchCommand(a *app, run func(context.Context, *benchOptions) error) *cobra.Command {
	o := &benchOptions{}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time operators, whole networks and training on a GPU",
		Long: `Time every operator at the shapes it has in the released networks, then the whole networks
with made-up weights, then iterations of training. GFLOP/s count what the network asks for; GB/s count each operand once.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), o) },
	}
	addGPUFlag(c, &o.GPU)
	c.Flags().Var(&o.Memory, "memory", "GPU memory to use at most, such as 1.5GiB")
	c.Flags().StringSliceVar(&o.Sizes, "size", []string{"256x256"}, "photo sizes for the networks, WIDTHxHEIGHT")
	c.Flags().StringSliceVar(&o.Crops, "crops", []string{"1x64"}, "batches to train on, COUNTxPIXELS")
	c.Flags().IntVar(&o.Runs, "runs", 3, "runs of a network; the median counts")
	return c
}

func (a *app) bench(ctx context.Context, o *benchOptions) error {
	sizes := make([][2]int, len(o.Sizes))
	for i, s := range o.Sizes {
		if _, err := fmt.Sscanf(s, "%dx%d", &sizes[i][0], &sizes[i][1]); err != nil || min(sizes[i][0], sizes[i][1]) < 1 {
			return usagef("--size %s is no size: write WIDTHxHEIGHT, such as 1280x720", s)
		}
	}
	crops := make([][2]int, len(o.Crops))
	for i, s := range o.Crops {
		if _, err := fmt.Sscanf(s, "%dx%d", &crops[i][0], &crops[i][1]); err != nil || crops[i][0] < 1 || crops[i][1] < 8 || crops[i][1]%8 != 0 {
			return usagef("--crops %s is no batch: write COUNTxPIXELS with a multiple of 8, such as 16x128", s)
		}
	}
	if o.Runs < 1 {
		return usagef("--runs %d is too few", o.Runs)
	}
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Logger: a.logger()})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%v\n\n", d.Adapter())
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "operator\tshape\tms\tGFLOP/s\tGB/s\tdispatches\t")
	row := func(t conformance.Timing) {
		fmt.Fprintf(table, "%s\t%s\t%.3f\t%.1f\t%.2f\t%.0f\t\n", t.Name, t.Shape, t.Seconds*1e3, t.Flops/t.Seconds/1e9, t.Bytes/t.Seconds/1e9, t.Dispatches)
	}
	err = conformance.BenchOperators(ctx, d, row)
	d.Close()
	if flush := table.Flush(); err == nil {
		err = flush
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	fmt.Fprintln(table, "network\tphoto\tms\tGFLOP/s\tdispatches\tbands\tGPU memory\t")
	for _, size := range sizes {
		for _, n := range benchNetworks {
			t, plan, err := conformance.BenchNetwork(ctx, hidiff.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()}, n.name, n.config, size[0], size[1], o.Runs)
			if err != nil {
				return err
			}
			fmt.Fprintf(table, "%s\t%s\t%.0f\t%.1f\t%.0f\t%d\t%s\t\n", t.Name, t.Shape, t.Seconds*1e3, t.Flops/t.Seconds/1e9, t.Dispatches, plan.Bands, wgpu.FormatBytes(plan.Peak))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	fmt.Fprintln(table, "training\tbatch\tms\tGFLOP/s\tdispatches\tGPU memory\t")
	for _, crop := range crops {
		for _, n := range benchNetworks {
			for stage := 1; stage <= 2; stage++ {
				if err := a.benchTraining(ctx, o, table, n.name, n.config, stage, crop); err != nil {
					return err
				}
			}
		}
	}
	return table.Flush()
}

// benchNetworks are the released configurations.
var benchNetworks = []struct {
	name   string
	config hidiff.Config
}{{"GoPro", hidiff.GoPro()}, {"RealBlur", hidiff.RealBlur()}}

func (a *app) benchTraining(ctx context.Context, o *benchOptions, table io.Writer, name string, c hidiff.Config, stage int, crop [2]int) error {
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()})
	if err != nil {
		return err
	}
	defer d.Close()
	t, peak, err := conformance.BenchTraining(ctx, d, name, c, stage, crop[0], crop[1], o.Runs)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(table, "%s\t%s\t%.0f\t%.1f\t%.0f\t%s\t\n", t.Name, t.Shape, t.Seconds*1e3, t.Flops/t.Seconds/1e9, t.Dispatches, wgpu.FormatBytes(peak))
	return err
}
