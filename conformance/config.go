package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// The structs below mirror the JSON in the fixtures' metadata, key by key; keys are
// those of the released option files.

// NetworkConfig describes the four networks and the sampler of one configuration.
type NetworkConfig struct {
	G    TransformerOptions     `json:"g"`    // net_g
	LE   Named[EncoderOptions]  `json:"le"`   // net_le (6 channels in), net_le_dm (3)
	D    Named[DenoiserOptions] `json:"d"`    // net_d
	Diff DiffusionOptions       `json:"diff"` // sampler
}

// Named is a class of the released code with its options: JSON [name, {options}].
type Named[T any] struct {
	Name    string
	Options T
}

// UnmarshalJSON reads [name, {options}].
func (n *Named[T]) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("want [name, options], got %d elements", len(pair))
	}
	if err := json.Unmarshal(pair[0], &n.Name); err != nil {
		return err
	}
	return decodeStrictly(pair[1], &n.Options)
}

// TransformerOptions are net_g's. Absent ones keep the released code's defaults.
type TransformerOptions struct {
	InpChannels         int     `json:"inp_channels"`
	OutChannels         int     `json:"out_channels"`
	Dim                 int     `json:"dim"`
	NumBlocks           []int   `json:"num_blocks"`
	NumRefinementBlocks int     `json:"num_refinement_blocks"`
	Heads               []int   `json:"heads"`
	FFNExpansionFactor  float64 `json:"ffn_expansion_factor"`
	Bias                bool    `json:"bias"`
	LayerNormType       string  `json:"LayerNorm_type"` // WithBias or BiasFree
	DualPixelTask       bool    `json:"dual_pixel_task"`
	EmbedDim            int     `json:"embed_dim"`
	Group               int     `json:"group"`
}

// EncoderOptions are those of latent_encoder_gelu and latent_encoder_lrelu.
type EncoderOptions struct {
	InChans          int     `json:"in_chans"`
	EmbedDim         int     `json:"embed_dim"`
	BlockNum         int     `json:"block_num"`
	Group            int     `json:"group"`
	Stage            int     `json:"stage"`
	PatchExpansion   float64 `json:"patch_expansion"`
	ChannelExpansion float64 `json:"channel_expansion"`
}

// DenoiserOptions are those of denoising (the first group) and simple_denoise.
type DenoiserOptions struct {
	InChannel        int     `json:"in_channel"`
	OutChannel       int     `json:"out_channel"`
	InnerChannel     int     `json:"inner_channel"`
	BlockNum         int     `json:"block_num"`
	Group            int     `json:"group"`
	LayerscaleValue  float64 `json:"layerscale_value"` // no parameter comes of it
	PatchExpansion   float64 `json:"patch_expansion"`
	ChannelExpansion float64 `json:"channel_expansion"`

	NFeats      int `json:"n_feats"`
	NDenoiseRes int `json:"n_denoise_res"`
	Timesteps   int `json:"timesteps"` // only scales the time input, by 10·Timesteps
}

// DiffusionOptions are those of diffusion_schedule.
type DiffusionOptions struct {
	ApplyLDM    bool    `json:"apply_ldm"` // true: predicts x0 (RealBlur); false: predicts noise (GoPro)
	Schedule    string  `json:"schedule"`
	Timesteps   int     `json:"timesteps"`
	LinearStart float64 `json:"linear_start"`
	LinearEnd   float64 `json:"linear_end"`
}

// ModuleOptions are the constructor arguments of a single module; each kind of module
// has some of them. Time is the t at which a denoiser was run.
type ModuleOptions struct {
	Dim                int     `json:"dim"`
	NumHeads           int     `json:"num_heads"`
	NumBlocks          int     `json:"num_blocks"`
	NFeat              int     `json:"n_feat"`
	FFNExpansionFactor float64 `json:"ffn_expansion_factor"`
	Bias               bool    `json:"bias"`
	LayerNormType      string  `json:"LayerNorm_type"`
	EmbedDim           int     `json:"embed_dim"`
	Group              int     `json:"group"`

	InChans          int     `json:"in_chans"`
	BlockNum         int     `json:"block_num"`
	Stage            int     `json:"stage"`
	PatchExpansion   float64 `json:"patch_expansion"`
	ChannelExpansion float64 `json:"channel_expansion"`

	InChannel       int     `json:"in_channel"`
	OutChannel      int     `json:"out_channel"`
	InnerChannel    int     `json:"inner_channel"`
	LayerscaleValue float64 `json:"layerscale_value"`
	NFeats          int     `json:"n_feats"`
	NDenoiseRes     int     `json:"n_denoise_res"`
	Timesteps       int     `json:"timesteps"`
	Time            int     `json:"time"`
}

// TrainOptions are the part of an option file's train section that decides a step.
type TrainOptions struct {
	UseGradClip  bool             `json:"use_grad_clip"`
	OptimTotal   OptimOptions     `json:"optim_total"`
	Scheduler    SchedulerOptions `json:"scheduler"`
	TotalIter    int              `json:"total_iter"`
	WarmupIter   int              `json:"warmup_iter"`
	PixelOpt     LossOptions      `json:"pixel_opt"`
	PixelDiffOpt LossOptions      `json:"pixel_diff_opt"`
}

// OptimOptions describe the optimizer: Adam or AdamW.
type OptimOptions struct {
	Type        string     `json:"type"`
	LR          float64    `json:"lr"`
	WeightDecay float64    `json:"weight_decay"`
	Betas       [2]float64 `json:"betas"`
}

// SchedulerOptions describe the learning rate's schedule; each type has some of them.
type SchedulerOptions struct {
	Type           string    `json:"type"`
	Periods        []int     `json:"periods"`
	RestartWeights []float64 `json:"restart_weights"`
	EtaMin         float64   `json:"eta_min"`
	EtaMins        []float64 `json:"eta_mins"`
	Milestones     []int     `json:"milestones"`
	Gamma          float64   `json:"gamma"`
	Restarts       []int     `json:"restarts"`
	TotalIter      int       `json:"total_iter"`
}

// LossOptions describe one loss. Eps is CharbonnierLoss's.
type LossOptions struct {
	Type       string  `json:"type"`
	LossWeight float64 `json:"loss_weight"`
	Reduction  string  `json:"reduction"`
	Eps        float64 `json:"eps"`
}

// decode fills the fields of f's kind from the file's metadata.
func (f *Fixture) decode(metadata map[string]string) error {
	switch f.Kind {
	case KindOp:
		f.Op = metadata["op"]
		return decodeEntry(metadata, "attrs", &f.Attrs)
	case KindModule:
		f.Module = metadata["module"]
		return decodeEntry(metadata, "options", &f.Options)
	case KindNetwork, KindEndToEnd, KindTraining:
		return f.decodeNetworks(metadata)
	}
	return nil
}

func (f *Fixture) decodeNetworks(metadata map[string]string) error {
	// The defaults of the released Transformer.
	f.Config.G = TransformerOptions{
		InpChannels: 3, OutChannels: 3, Dim: 48, NumBlocks: []int{4, 6, 6, 8}, NumRefinementBlocks: 4, Heads: []int{1, 2, 4, 8},
		FFNExpansionFactor: 2.66, LayerNormType: "WithBias", EmbedDim: 48, Group: 4,
	}
	if err := decodeEntry(metadata, "config", &f.Config); err != nil {
		return err
	}
	if f.FillPrefix = metadata["fill_prefix"]; f.FillPrefix == "" {
		return fmt.Errorf("metadata has no fill_prefix")
	}
	switch f.Kind {
	case KindNetwork:
		if metadata["picks"] == "" {
			return nil
		}
		return decodeEntry(metadata, "picks", &f.Picks)
	case KindEndToEnd:
		var err error
		if f.OutputWeightScale, err = strconv.ParseFloat(metadata["output_weight_scale"], 64); err != nil {
			return fmt.Errorf("metadata output_weight_scale: %w", err)
		}
	case KindTraining:
		if err := decodeEntry(metadata, "train", &f.Train); err != nil {
			return err
		}
		return decodeEntry(metadata, "trained", &f.Trained)
	}
	return nil
}

// decodeEntry decodes the JSON that metadata holds under key.
func decodeEntry(metadata map[string]string, key string, into any) error {
	text, ok := metadata[key]
	if !ok {
		return fmt.Errorf("metadata has no %s", key)
	}
	if err := decodeStrictly([]byte(text), into); err != nil {
		return fmt.Errorf("metadata %s: %w", key, err)
	}
	return nil
}

// decodeStrictly refuses keys that into has no field for.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
