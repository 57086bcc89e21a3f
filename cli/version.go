package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionOptions struct{ JSON bool }

func newVersionCommand(a *app, run func(context.Context, *versionOptions) error) *cobra.Command {
	o := &versionOptions{}
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of hidiff and of what it is built with",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return run(c.Context(), o) },
	}
	c.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return c
}

// versionInfo is what the Go linker recorded of this program.
type versionInfo struct {
	Hidiff   string `json:"hidiff"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
	WebGPU   string `json:"webgpu"` // of the binding
}

func readVersion() versionInfo {
	v := versionInfo{Hidiff: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, WebGPU: "unknown"}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if build.Main.Version != "" {
		v.Hidiff = build.Main.Version
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, m := range build.Deps {
		if m.Path == "github.com/oliverbestmann/webgpu" {
			v.WebGPU = m.Version
		}
	}
	return v
}

func (v versionInfo) String() string {
	revision := ""
	if v.Revision != "" {
		revision = ", revision " + v.Revision
	}
	if v.Modified {
		revision += " with changes"
	}
	return fmt.Sprintf("hidiff %s%s (%s, %s, webgpu %s)", v.Hidiff, revision, v.Platform, v.Go, v.WebGPU)
}

func (a *app) version(_ context.Context, o *versionOptions) error {
	if o.JSON {
		return printJSON(a.stdout, readVersion())
	}
	_, err := fmt.Fprintln(a.stdout, readVersion())
	return err
}
