package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
)

type infoOptions struct {
	Weights []string
	JSON    bool
}

func newInfoCommand(a *app, run func(context.Context, *infoOptions) error) *cobra.Command {
	o := &infoOptions{}
	c := &cobra.Command{
		Use:   "info WEIGHTS...",
		Short: "Say what weights are: networks, configuration, sampler, metadata",
		Long: `Say what weights are: the networks, their configuration and the sampler's in the words of
the option files, and the metadata. Weights are .pth or .safetensors files, or folders of them.`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Weights = args; len(args) == 0 {
				if o.Weights, err = defaultModel(); err != nil {
					return err
				}
			}
			return run(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	return c
}

func (a *app) info(_ context.Context, o *infoOptions) error {
	w, err := hidiff.LoadWeights(o.Weights...)
	if err != nil {
		return err
	}
	return printWeights(a.stdout, w, "", o.JSON)
}

type convertOptions struct {
	Weights  []string
	Output   string
	F16      bool
	ParamKey string
	Force    bool
}

func newConvertCommand(a *app, run func(context.Context, *convertOptions) error) *cobra.Command {
	o := &convertOptions{}
	c := &cobra.Command{
		Use:   "convert WEIGHTS... -o model.safetensors",
		Short: "Bundle networks into one safetensors file",
		Long: `Bundle the networks of a model, .pth or .safetensors files or folders of them, into one
safetensors file that holds the configuration too, and print what was recognised.`,
		Example: "  hidiff convert net_g_latest.pth net_le_dm_latest.pth net_d_latest.pth -o gopro.safetensors\n" +
			"  hidiff convert experiments/GoPro_S2 -o gopro.safetensors --f16",
		RunE: func(c *cobra.Command, args []string) error {
			o.Weights = args
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Output, "output", "o", "", "the file to write, .safetensors")
	f.BoolVar(&o.F16, "f16", false, "store 16-bit floats: half the size, rounded")
	f.StringVar(&o.ParamKey, "param-key", "", "state_dict to take from .pth files, such as params_ema (default: params, else params_ema, else the only one)")
	f.BoolVar(&o.Force, "force", false, "replace an existing file")
	return c
}

func (o *convertOptions) validate() error {
	switch {
	case len(o.Weights) == 0:
		return usagef("no weights to convert: name .pth or .safetensors files, or a folder of them")
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
	w, err := hidiff.LoadOptions{ParamKey: o.ParamKey}.LoadWeights(o.Weights...)
	if err != nil {
		return err
	}
	dtype := checkpoint.F32
	if o.F16 {
		dtype = checkpoint.F16
	}
	if err := w.Save(o.Output, dtype); err != nil {
		return err
	}
	if err := printWeights(a.stdout, w, o.ParamKey, false); err != nil {
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

func printWeights(out io.Writer, w *hidiff.Weights, paramKey string, asJSON bool) error {
	info := weightsInfo{
		Hash: w.Hash(), Networks: map[string]networkSummary{}, G: typed{"Transformer", plainTransformer(w.Config.G)},
		LE: w.Config.LE, D: w.Config.D, Sampler: w.Config.Diffusion, Metadata: w.Metadata,
	}
	for net, state := range w.Nets {
		s := networkSummary{Source: w.Sources[net], DType: storedTypes(w.Sources[net], net, paramKey)}
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

// storedTypes says how a file stores a network's values, which loading turns to F32.
func storedTypes(source string, net hidiff.Network, paramKey string) string {
	if _, err := os.Stat(source); err != nil {
		if i := strings.LastIndex(source, " ("); i >= 0 {
			source = source[:i] // LoadWeights' note on the iteration
		}
	}
	file, err := checkpoint.Open(source)
	if err != nil {
		return "unknown"
	}
	state, ok := file.Groups[string(net)]
	if !ok {
		if state, err = file.Weights(paramKey); err != nil {
			return "unknown"
		}
	}
	types := map[string]bool{}
	for _, array := range state.All() {
		types[string(array.DType)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(types)), ", ")
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
