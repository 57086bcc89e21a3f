package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/models"
	"hidiff/hidiff/options"
)

type convertOptions struct {
	Weights  []string
	Options  string // the option file of their training, or a preset
	Output   string
	F16      bool
	ParamKey string
	Force    bool
	Metadata map[string]string // to set
}

func newConvertCommand(a *app, run func(context.Context, *convertOptions) error) *cobra.Command {
	o := &convertOptions{}
	var metadata []string
	c := &cobra.Command{
		Use:   "convert MODEL... -o model.safetensors",
		Short: "Bundle networks into one safetensors file",
		Long: `Bundle the networks of a model, .pth or .safetensors files or folders of them, into one
safetensors file that holds the configuration too, and print what was recognised.

How many steps the diffusion has, and its betas, .pth files do not say. From an experiment's
folder they are taken with its option file; for others trained with a diffusion_schedule of
your own, name theirs with -opt. Without, it is that of the released models.

The file's metadata are those of the files given, and what --metadata sets; 'hidiff models'
shows ` + models.DescriptionKey + ` and ` + models.LicenseKey + `.`,
		Example: "  hidiff convert net_g_latest.pth net_le_dm_latest.pth net_d_latest.pth -o gopro.safetensors\n" +
			"  hidiff convert experiments/Mine_S2 -o mine.safetensors --f16 --metadata " + models.DescriptionKey + "='trained on my own photos'",
		RunE: func(c *cobra.Command, args []string) (err error) {
			o.Weights = args
			if o.Metadata, err = parseMetadata(metadata); err != nil {
				return err
			}
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Output, "output", "o", "", "the file to write, .safetensors")
	f.StringVar(&o.Options, "opt", "", "option file of their training, stage two, or a preset (also -opt)")
	f.BoolVar(&o.F16, "f16", false, "store 16-bit floats: half the size, rounded")
	addParamKeyFlag(c, &o.ParamKey)
	f.StringArrayVar(&metadata, "metadata", nil, "set key=value in the file's metadata; may be repeated")
	f.BoolVar(&o.Force, "force", false, "replace an existing file")
	return c
}

// parseMetadata parses key=value. The configuration is not among it: that is the weights'.
func parseMetadata(pairs []string) (map[string]string, error) {
	var metadata map[string]string
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || key == "hidiff.config" {
			return nil, usagef("--metadata %s must be key=value, and set no hidiff.config", pair)
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[key] = value
	}
	return metadata, nil
}

func (o *convertOptions) validate() error {
	switch {
	case len(o.Weights) == 0:
		return usagef("no weights to convert: name .pth or .safetensors files, a folder of them, or a model")
	case o.Output == "":
		return usagef("no file to write: name it with -o")
	case !strings.HasSuffix(strings.ToLower(o.Output), ".safetensors"):
		return usagef("-o %s must end in .safetensors: no other format is written", o.Output)
	}
	return nil
}

func (a *app) convert(ctx context.Context, o *convertOptions) error {
	if _, err := os.Lstat(o.Output); err == nil && !o.Force {
		return fmt.Errorf("%s exists: replace it with --force, or choose another -o", o.Output)
	}
	w, err := loadModel(ctx, hidiff.LoadOptions{ParamKey: o.ParamKey}, o.Weights)
	if err != nil {
		return err
	}
	if o.Options != "" {
		file, err := options.Load(o.Options, nil)
		if err != nil {
			return err
		}
		if err := w.Configure(file); err != nil {
			return err
		}
	}
	maps.Copy(w.Metadata, o.Metadata)
	dtype := checkpoint.F32
	if o.F16 {
		dtype = checkpoint.F16
	}
	if err := w.Save(o.Output, dtype); err != nil {
		return err
	}
	if err := printWeights(a.stdout, w, false); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "wrote %s (%s)\n", o.Output, dtype)
	return nil
}
