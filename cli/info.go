package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"hidiff/hidiff"
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

func (a *app) info(ctx context.Context, o *infoOptions) error {
	w, err := loadModel(ctx, hidiff.LoadOptions{ParamKey: o.ParamKey}, o.Weights)
	if err != nil {
		return err
	}
	return printWeights(a.stdout, w, o.JSON)
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
