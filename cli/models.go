package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"hidiff/hidiff/models"
	"hidiff/internal/suggest"
	"hidiff/wgpu"
)

type modelsOptions struct{ JSON bool }

// pullOptions are the options of models pull as given.
type pullOptions struct {
	URL, SHA256, Name string
}

const modelsLong = `List the models that have a name: those that are built in, and those in your folder of models.
* marks the one that is used where none is named: that of $HIDIFF_MODEL, else the built-in one.

A model in the folder is a file NAME.safetensors or NAME.pth, or a folder NAME of the files of
its networks. The folder is hidiff/models in your cache folder, or $HIDIFF_MODELS.`

const pullLong = `Download a model into your folder of models, over HTTPS: a .safetensors or .pth file of a whole
model, or of one network, which joins the others in the model that --name names.

The file takes its place once its SHA-256 is right and it holds weights; nothing is replaced. What an
interrupted download leaves is kept, and the same command goes on from there.

The models that HI-Diff's authors released cannot be pulled: 'hidiff models' says what to do instead.`

func newModelsCommand(_ *app, list func(context.Context, *modelsOptions) error, pull func(context.Context, *pullOptions) error) *cobra.Command {
	o := &modelsOptions{}
	c := &cobra.Command{
		Use:   "models",
		Short: "List and download models",
		Long:  modelsLong,
		Args:  cobra.ArbitraryArgs, // so that a mistyped command gets here
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no command %q in models%s", args[0], suggest.Text(args[0], []string{"pull"}))
			}
			return list(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	c.AddCommand(newPullCommand(pull))
	return c
}

func newPullCommand(run func(context.Context, *pullOptions) error) *cobra.Command {
	o := &pullOptions{}
	c := &cobra.Command{
		Use:   "pull URL --sha256 HEX",
		Short: "Download a model",
		Long:  pullLong,
		Example: "  hidiff models pull https://example.org/mine.safetensors --sha256 7d86…\n" +
			"  hidiff models pull https://example.org/net_g.pth --sha256 01ba… --name mine",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("give one address: https://, and a file's name at its end")
			case o.SHA256 == "":
				return usagef("--sha256 is missing: give the file's SHA-256, which whoever offers it tells")
			}
			o.URL = args[0]
			return run(c.Context(), o)
		},
	}
	c.Flags().StringVar(&o.SHA256, "sha256", "", "SHA-256 that the file must have, 64 hexadecimal digits")
	c.Flags().StringVar(&o.Name, "name", "", "name of the model (default: the file's)")
	return c
}

// modelList is models --json.
type modelList struct {
	Folder string         `json:"folder"`
	Models []listedModel  `json:"models"`
	Absent []absentModels `json:"released,omitempty"` // by HI-Diff's authors, and not here
}

type listedModel struct {
	models.Model
	Default bool `json:"default"`
}

type absentModels struct {
	models.Release
	Instructions string `json:"instructions"`
}

func (a *app) models(ctx context.Context, o *modelsOptions) error {
	all, err := models.List(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "warning: only built-in models are listed: %v\n", err)
	}
	folder, err := models.Folder()
	if err != nil {
		folder = "$HIDIFF_MODELS"
	}
	list := modelList{Folder: folder, Models: []listedModel{}}
	chosen := filepath.SplitList(os.Getenv("HIDIFF_MODEL"))
	marked := false
	for _, m := range all {
		isDefault := m.BuiltIn && m.Name == models.Default
		if len(chosen) > 0 {
			isDefault = len(chosen) == 1 && m.Name == chosen[0]
		}
		isDefault = isDefault && m.Problem == ""
		marked = marked || isDefault
		list.Models = append(list.Models, listedModel{m, isDefault})
	}
	for _, r := range models.Released() {
		if !slices.ContainsFunc(all, func(m models.Model) bool { return m.Name == r.Name }) {
			list.Absent = append(list.Absent, absentModels{r, r.Instructions(folder)})
		}
	}
	if o.JSON {
		return printJSON(a.stdout, list)
	}
	if err := a.printModels(list); err != nil {
		return err
	}
	if !marked {
		fmt.Fprintf(a.stderr, "used where none is named: %s ($HIDIFF_MODEL)\n", strings.Join(chosen, ", "))
	}
	return nil
}

func (a *app) printModels(list modelList) error {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  name\tsize\tparameters\twhat it is\twhere")
	for _, m := range list.Models {
		mark, parameters, what, where := " ", "-", m.Description, m.Path
		if m.Default {
			mark = "*"
		}
		if m.Parameters > 0 {
			parameters = fmt.Sprint(m.Parameters)
		}
		if m.License != "" {
			what += " (" + m.License + ")"
		}
		if m.Problem != "" {
			what = "unusable, see below"
		}
		if what == "" {
			what = "-"
		}
		if m.BuiltIn {
			where = "built in"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\t%s\n", mark, m.Name, wgpu.FormatBytes(m.Bytes), parameters, what, where)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	var text strings.Builder
	for _, m := range list.Models {
		if m.Problem != "" {
			fmt.Fprintf(&text, "%s: %s\n", m.Name, m.Problem)
		}
	}
	fmt.Fprintf(&text, "your folder of models: %s\n", list.Folder)
	var absent []string
	for _, r := range list.Absent {
		absent = append(absent, r.Name)
	}
	if absent != nil {
		fmt.Fprintf(&text, "not here, but released by HI-Diff's authors: %s: %s\n",
			strings.Join(absent, ", "), models.Release{Name: "NAME", Title: "one"}.Instructions(list.Folder))
	}
	_, err := fmt.Fprint(a.stdout, text.String())
	return err
}

func (a *app) pull(ctx context.Context, o *pullOptions) error {
	steps := &steps{out: a.stderr, screen: a.screen}
	m, err := models.Pull(ctx, o.URL, models.PullOptions{SHA256: o.SHA256, Name: o.Name, Client: pullClient, Progress: func(done, total int64) {
		of := ""
		if total > 0 {
			of = " of " + wgpu.FormatBytes(total)
		}
		steps.at("pulling", done, total, fmt.Sprintf("pulling: %s%s", wgpu.FormatBytes(done), of))
	}})
	steps.close()
	var partial *models.PartialError
	if ctx.Err() != nil && errors.As(err, &partial) {
		fmt.Fprintf(a.stderr, "%s are kept: the same command goes on from there\n", wgpu.FormatBytes(partial.Bytes))
	}
	if err != nil {
		return err
	}
	if m.Problem != "" {
		fmt.Fprintf(a.stderr, "%s is not complete yet: %s\n", m.Name, m.Problem)
		return nil
	}
	fmt.Fprintf(a.stderr, "%s is there, %s in %s: use it with -m %s\n", m.Name, wgpu.FormatBytes(m.Bytes), m.Path, m.Name)
	return nil
}

var pullClient *http.Client // nil but in tests
