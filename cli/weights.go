package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/models"
	"hidiff/hidiff/options"
)

type infoOptions struct {
	Weights  []string
	ParamKey string
	JSON     bool
}

func newInfoCommand(a *app, run func(context.Context, *infoOptions) error) *cobra.Command {
	o := &infoOptions{}
	c := &cobra.Command{
		Use:   "info [MODEL...]",
		Short: "Say what weights are: networks, configuration, sampler, metadata",
		Long: `Say what weights are: the networks, their configuration and the sampler's in the words of
the option files, and the metadata. A model is a name that 'hidiff models' lists, or .pth or
.safetensors files, or folders of them; by default $HIDIFF_MODEL, else the built-in one.`,
		RunE: func(c *cobra.Command, args []string) error {
			o.Weights = args
			return run(c.Context(), o)
		},
	}
	addParamKeyFlag(c, &o.ParamKey)
	c.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return c
}

func (a *app) info(_ context.Context, o *infoOptions) error {
	w, err := loadModel(hidiff.LoadOptions{ParamKey: o.ParamKey}, o.Weights)
	if err != nil {
		return err
	}
	return printWeights(a.stdout, w, o.JSON)
}

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

func (a *app) convert(_ context.Context, o *convertOptions) error {
	if _, err := os.Lstat(o.Output); err == nil && !o.Force {
		return fmt.Errorf("%s exists: replace it with --force, or choose another -o", o.Output)
	}
	w, err := loadModel(hidiff.LoadOptions{ParamKey: o.ParamKey}, o.Weights)
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

// weightsInfo is what info prints, as YAML in the words of the option files, or as JSON.
type weightsInfo struct {
	Hash     string                    `json:"hash"`
	Networks map[string]networkSummary `json:"networks"`
	G        typed                     `json:"network_g"`
	LE       hidiff.EncoderConfig      `json:"network_le_dm"`
	D        hidiff.DenoiserConfig     `json:"network_d"`
	Sampler  hidiff.DiffusionConfig    `json:"diffusion_schedule"`
	Metadata map[string]string         `json:"metadata,omitempty"`
}

type networkSummary struct {
	Parameters int    `json:"parameters"`
	DType      string `json:"dtype"`
	Source     string `json:"source"`
}

// typed is network_g of an option file, whose type hidiff's configuration leaves out.
type typed struct {
	Type string `json:"type"`
	plainTransformer
}

// plainTransformer has no methods, so that typed is a struct to encoding/json.
type plainTransformer hidiff.TransformerConfig

func printWeights(out io.Writer, w *hidiff.Weights, asJSON bool) error {
	info := weightsInfo{
		Hash: w.Hash(), Networks: map[string]networkSummary{}, G: typed{"Transformer", plainTransformer(w.Config.G)},
		LE: w.Config.LE, D: w.Config.D, Sampler: w.Config.Diffusion, Metadata: w.Metadata,
	}
	for net, state := range w.Nets {
		s := networkSummary{Source: w.Sources[net], DType: w.DTypes[net]}
		for _, array := range state.All() {
			s.Parameters += array.Len()
		}
		info.Networks[string(net)] = s
	}
	if asJSON {
		return printJSON(out, info)
	}
	text, err := toYAML(info)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// toYAML writes v by way of JSON, which is YAML, for its names and its order.
func toYAML(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, err
	}
	plain(&node)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&node); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// plain takes JSON's quotes and braces from a node, but for lists, which stay on one line.
func plain(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	for _, child := range n.Content {
		plain(child)
	}
}
