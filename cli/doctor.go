package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"hidiff/conformance"
	"hidiff/tensor"
	"hidiff/wgpu"
)

type doctorOptions struct {
	GPU      string
	Fixtures string
	JSON     bool
}

func newDoctorCommand(a *app, run func(context.Context, *doctorOptions) error) *cobra.Command {
	o := &doctorOptions{}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check that a GPU computes what it should",
		Long: `Check that a GPU and its driver compute what they should: every operator of the networks is
run and compared with a reference, on rare sizes too. Send the output with a bug report.

With the environment variable HIDIFF_LIMITS=default, the GPU is asked for no more than WebGPU promises
everywhere: what a phone or a browser has.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context(), o) },
	}
	addGPUFlag(c, &o.GPU)
	c.Flags().StringVar(&o.Fixtures, "fixtures", "", "folder of reference outputs to check as well")
	c.Flags().BoolVar(&o.JSON, "json", false, "print one JSON object a line")
	must(c.MarkFlagDirname("fixtures"))
	return c
}

// deviceInfo is the first line of doctor --json. Sizes are in bytes.
type deviceInfo struct {
	Event    string        `json:"event"` // device
	Version  versionInfo   `json:"version"`
	CPUs     int           `json:"cpus"`
	Adapters []adapterInfo `json:"adapters"`
	Chosen   int           `json:"chosen"`
	Limits   wgpu.Limits   `json:"limits"`
	Features wgpu.Features `json:"features"`
}

// checkLine is a line of doctor --json.
type checkLine struct {
	Event     string  `json:"event"` // check
	Name      string  `json:"name"`
	Kind      string  `json:"kind"`
	Pass      bool    `json:"pass"`
	Error     string  `json:"error,omitempty"`
	RelError  float64 `json:"relative_error"`
	Tolerance float64 `json:"tolerance"`
	Seconds   float64 `json:"seconds"`
}

type doctorSummary struct {
	Event  string `json:"event"` // summary
	Passed int    `json:"passed"`
	Failed int    `json:"failed"`
}

func (a *app) doctor(ctx context.Context, o *doctorOptions) error {
	d, err := tensor.Open(wgpu.Options{GPU: o.GPU, Logger: a.logger()})
	if err != nil {
		return err
	}
	defer d.Close()
	info := deviceInfo{"device", readVersion(), runtime.NumCPU(), adapterList(), d.Adapter().Index, d.Limits(), d.Features()}
	show := func(v fmt.Stringer) {
		if o.JSON {
			err = printJSON(a.stdout, v)
			return
		}
		_, err = fmt.Fprintln(a.stdout, v)
	}
	if show(info); err != nil {
		return err
	}
	sum := doctorSummary{Event: "summary"}
	report := func(r conformance.Result) {
		line := checkLine{
			Event: "check", Name: r.Name, Kind: r.Kind, Pass: r.Err == nil,
			RelError: r.Diff.MaxRel, Tolerance: r.Tolerance, Seconds: r.Seconds,
		}
		if sum.Passed++; r.Err != nil {
			line.Error = r.Err.Error()
			sum.Passed, sum.Failed = sum.Passed-1, sum.Failed+1
		}
		show(line)
	}
	failure := conformance.SelfTest(ctx, d, report)
	if o.Fixtures != "" && ctx.Err() == nil {
		failure = errors.Join(failure, conformance.RunDir(ctx, d, o.Fixtures, report))
	}
	if show(sum); err != nil {
		return err
	}
	if failure == nil && sum.Failed > 0 {
		return errReported
	}
	return failure
}

func (i deviceInfo) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v\n%d CPUs\n", i.Version, i.CPUs)
	for _, x := range i.Adapters {
		mark := " "
		if x.Index == i.Chosen {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %d: %s (%s, %s), driver %s\n", mark, x.Index, x.Name, x.Kind, x.Backend, x.Driver)
	}
	l := i.Limits
	fmt.Fprintf(&b, "limits: buffer %s, binding %s, uniform binding %s, %d storage buffers, workgroup memory %s, %d invocations, %d workgroups an axis, alignment %d\n",
		wgpu.FormatBytes(l.Buffer), wgpu.FormatBytes(l.Binding), wgpu.FormatBytes(l.UniformBinding), l.StorageBuffers,
		wgpu.FormatBytes(int64(l.WorkgroupStorage)), l.Invocations, l.WorkgroupsPerAxis, l.Alignment)
	fmt.Fprintf(&b, "features: timestamps %s, 16-bit floats %s, subgroups %s", yes(i.Features.Timestamps), yes(i.Features.F16), yes(i.Features.Subgroups))
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (l checkLine) String() string {
	if !l.Pass {
		return fmt.Sprintf("FAIL  %-12s %-36s %s", l.Kind, l.Name, l.Error)
	}
	return fmt.Sprintf("pass  %-12s %-36s error %.1e of %.0e  %.2f s", l.Kind, l.Name, l.RelError, l.Tolerance, l.Seconds)
}

func (s doctorSummary) String() string {
	return fmt.Sprintf("%d checks passed, %d failed", s.Passed, s.Failed)
}
