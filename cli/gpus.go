package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hidiff/wgpu"
)

type gpusOptions struct{ JSON bool }

func newGPUsCommand(a *app, run func(context.Context, *gpusOptions) error) *cobra.Command {
	o := &gpusOptions{}
	c := &cobra.Command{
		Use:   "gpus",
		Short: "List the GPUs that -g can choose",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return run(c.Context(), o) },
	}
	c.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return c
}

// adapterInfo is an adapter in JSON.
type adapterInfo struct {
	Index    int    `json:"index"`
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Backend  string `json:"backend"`
	Driver   string `json:"driver"`
	Software bool   `json:"software"`
}

func adapterList() []adapterInfo {
	list := []adapterInfo{}
	for _, x := range wgpu.Adapters() {
		list = append(list, adapterInfo{x.Index, x.Name, x.Kind, x.Backend, x.Driver, x.Software})
	}
	return list
}

func (a *app) gpus(_ context.Context, o *gpusOptions) error {
	list := adapterList()
	if o.JSON {
		if err := printJSON(a.stdout, list); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return &wgpu.NoAdapterError{}
	}
	if o.JSON {
		return nil
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "-g\tname\tkind\tbackend\tdriver")
	for _, x := range list {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", x.Index, x.Name, x.Kind, x.Backend, x.Driver)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if list[0].Software {
		fmt.Fprintln(a.stderr, "only software rendering on the CPU was found: hidiff works with it, but slowly; install your GPU's driver if there is a GPU")
	}
	return nil
}
