package hidiff

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"hidiff/internal/diffusion"
)

// Config describes the networks and the sampler of one HI-Diff model. Field names in JSON
// are the option keys of the released option files; see [Config.UnmarshalJSON].
type Config struct {
	G         TransformerConfig // net_g
	LE        EncoderConfig     // net_le_dm; [Config.StageOne] gives net_le
	D         DenoiserConfig    // net_d
	Diffusion DiffusionConfig   // diffusion_schedule
}

// The values of TransformerConfig.LayerNormType.
const (
	WithBias = "WithBias"
	BiasFree = "BiasFree"
)

// TransformerConfig describes net_g, the Transformer that restores the image.
type TransformerConfig struct {
	InpChannels         int     `json:"inp_channels"`
	OutChannels         int     `json:"out_channels"`
	Dim                 int     `json:"dim"` // channels of level 1, doubled at each of levels 2 to 4
	NumBlocks           [4]int  `json:"num_blocks"`
	NumRefinementBlocks int     `json:"num_refinement_blocks"`
	Heads               [4]int  `json:"heads"`
	FFNExpansionFactor  float64 `json:"ffn_expansion_factor"`
	Bias                bool    `json:"bias"`           // of convolutions
	LayerNormType       string  `json:"LayerNorm_type"` // WithBias or BiasFree
	DualPixelTask       bool    `json:"dual_pixel_task"`
	EmbedDim            int     `json:"embed_dim"` // the prior has 4·EmbedDim channels
	Group               int     `json:"group"`     // the prior has Group² tokens
}

// The values of EncoderConfig.Type.
const (
	LatentEncoderGELU  = "latent_encoder_gelu"
	LatentEncoderLReLU = "latent_encoder_lrelu"
)

// EncoderConfig describes a latent encoder: net_le_dm (stage 2, 3 channels in: the blurry
// image) or net_le (stage 1, 6 channels in: the sharp image, then the blurry one).
type EncoderConfig struct {
	Type             string  `json:"type,omitempty"`
	InChans          int     `json:"in_chans,omitempty"`
	EmbedDim         int     `json:"embed_dim"`
	BlockNum         int     `json:"block_num"`
	Group            int     `json:"group"`
	Stage            int     `json:"stage,omitempty"`
	PatchExpansion   float64 `json:"patch_expansion"`
	ChannelExpansion float64 `json:"channel_expansion"`
}

// The values of DenoiserConfig.Type.
const (
	Denoising     = "denoising"
	SimpleDenoise = "simple_denoise"
)

// DenoiserConfig describes net_d. The options of the other type are zero.
type DenoiserConfig struct {
	Type string `json:"type,omitempty"`

	// Of denoising.
	InChannel        int     `json:"in_channel,omitempty"`
	OutChannel       int     `json:"out_channel,omitempty"`
	InnerChannel     int     `json:"inner_channel,omitempty"`
	BlockNum         int     `json:"block_num,omitempty"` // two more than there are mixer blocks
	Group            int     `json:"group,omitempty"`
	PatchExpansion   float64 `json:"patch_expansion,omitempty"`
	ChannelExpansion float64 `json:"channel_expansion,omitempty"`

	// Of simple_denoise.
	NFeats      int `json:"n_feats,omitempty"` // embed_dim
	NDenoiseRes int `json:"n_denoise_res,omitempty"`
	Timesteps   int `json:"timesteps,omitempty"` // scales the time t to t / (10·Timesteps); not the sampler's number of steps
}

// DiffusionConfig describes the sampler. Schedule is linear, quad, warmup10, warmup50, const or
// cosine, as in SR3, where ApplyLDM is false; linear, cosine, sqrt_linear or sqrt, as in latent
// diffusion, where it is true.
type DiffusionConfig struct {
	ApplyLDM    bool    `json:"apply_ldm"` // true: net_d predicts the prior (RealBlur); false: the noise (GoPro)
	Schedule    string  `json:"schedule"`
	Timesteps   int     `json:"timesteps"`
	LinearStart float64 `json:"linear_start"`
	LinearEnd   float64 `json:"linear_end"`
}

// GoPro returns the configuration of the weights that were trained on GoPro.
func GoPro() Config { return released(LatentEncoderGELU, Denoising, false, 2.66) }

// RealBlur returns the configuration of the weights that were trained on RealBlur-R and
// RealBlur-J.
func RealBlur() Config { return released(LatentEncoderLReLU, SimpleDenoise, true, 2) }

func released(encoder, denoiser string, applyLDM bool, ffn float64) Config {
	g := defaultTransformer()
	g.NumBlocks, g.EmbedDim, g.FFNExpansionFactor = [4]int{3, 5, 6, 6}, 64, ffn
	return Config{g, defaultEncoder(encoder), defaultDenoiser(denoiser), defaultDiffusion(applyLDM)}
}

// The defaults stand in for absent keys: the released code's for the Transformer, the
// released option files' values for the rest.

func defaultTransformer() TransformerConfig {
	return TransformerConfig{
		InpChannels: 3, OutChannels: 3, Dim: 48, NumBlocks: [4]int{4, 6, 6, 8}, NumRefinementBlocks: 4, Heads: [4]int{1, 2, 4, 8},
		FFNExpansionFactor: 2.66, LayerNormType: WithBias, EmbedDim: 48, Group: 4,
	}
}

func defaultEncoder(kind string) EncoderConfig {
	c := EncoderConfig{Type: kind, InChans: 3, EmbedDim: 64, BlockNum: 6, Group: 4, Stage: 2, PatchExpansion: 0.5, ChannelExpansion: 4}
	if kind == LatentEncoderLReLU {
		c.BlockNum = 5
	}
	return c
}

func defaultDenoiser(kind string) DenoiserConfig {
	if kind == SimpleDenoise {
		return DenoiserConfig{Type: kind, NFeats: 64, NDenoiseRes: 4, Timesteps: 5}
	}
	return DenoiserConfig{
		Type: kind, InChannel: 256, OutChannel: 256, InnerChannel: 512, BlockNum: 4, Group: 4, PatchExpansion: 0.5, ChannelExpansion: 2,
	}
}

func defaultDiffusion(applyLDM bool) DiffusionConfig {
	c := DiffusionConfig{ApplyLDM: applyLDM, Schedule: "linear", Timesteps: 8, LinearStart: 0.1, LinearEnd: 0.99}
	if applyLDM {
		c.Timesteps = 16
	}
	return c
}

// StageOne returns the configuration of net_le: net_le_dm's, with the sharp image as a
// second input.
func (c Config) StageOne() EncoderConfig {
	le := c.LE
	le.InChans, le.Stage = 6, 1
	return le
}

// Hidden returns the width of the feed-forward network at a level of dim channels, rounded
// down as in Python's int(dim·factor).
func (c TransformerConfig) Hidden(dim int) int { return expand(dim, c.FFNExpansionFactor) }

func expand(n int, factor float64) int { return int(float64(n) * factor) }

// width returns the number of channels that the encoder's mixer works on.
func (c EncoderConfig) width() int {
	if c.Type == LatentEncoderLReLU {
		return 4 * c.EmbedDim
	}
	return c.EmbedDim
}

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p *problems) between(option string, value, least, most int) {
	if value < least || value > most {
		p.addf("%s is %d: it must be from %d to %d", option, value, least, most)
	}
}

func (p *problems) factor(option string, value float64, size int) {
	if !(value > 0 && value <= maxFactor) { // so written for NaN
		p.addf("%s is %g: it must be more than 0, and at most %d", option, value, maxFactor)
	} else if size > 0 && expand(size, value) < 1 {
		p.addf("%s is %g: %d times that is less than 1", option, value, size)
	}
}

// Limits that no sensible network comes near; within them, no product of sizes overflows.
const (
	maxWidth  = 1 << 14
	maxBlocks = 1 << 10
	maxGroup  = 8 // 64 tokens: what the patch mixer's shader holds
	maxFactor = 1 << 6
)

// Validate returns every wrong value, each by the name of its option file section and key,
// as one joined error. It also compares the networks with each other.
func (c Config) Validate() error {
	var p problems
	section := func(name string, err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				p.addf("%s: %w", name, e)
			}
		} else if err != nil {
			p.addf("%s: %w", name, err)
		}
	}
	section("network_g", c.G.Validate())
	section("network_le_dm", c.LE.Validate())
	section("network_d", c.D.Validate())
	_, err := diffusion.NewSchedule(diffusion.Options(c.Diffusion))
	section("diffusion_schedule", err)
	if c.G.InpChannels != 3 || c.G.OutChannels != 3 {
		p.addf("network_g: inp_channels is %d and out_channels %d: both must be 3, as photos are RGB", c.G.InpChannels, c.G.OutChannels)
	}
	if c.LE.Stage != 2 {
		p.addf("network_le_dm: stage is %d: it must be 2, whose encoder sees only the blurry image", c.LE.Stage)
	}
	for _, m := range c.mismatches() {
		p = append(p, errors.New(m.what))
	}
	return errors.Join(p...)
}

// mismatch is a value on which two networks differ.
type mismatch struct {
	a, b Network
	what string
}

// mismatches compares the networks with net_g, which takes the prior that they make.
func (c Config) mismatches() []mismatch {
	var out []mismatch
	equal := func(net Network, option string, got int, of string, want int) {
		if got != want {
			out = append(out, mismatch{NetG, net, fmt.Sprintf("%s's %s is %d, and %s of net_g is %d", net, option, got, of, want)})
		}
	}
	equal(NetLEDM, "embed_dim", c.LE.EmbedDim, "embed_dim", c.G.EmbedDim)
	equal(NetLEDM, "group", c.LE.Group, "group", c.G.Group)
	if c.D.Type == SimpleDenoise {
		equal(NetD, "n_feats", c.D.NFeats, "embed_dim", c.G.EmbedDim)
		return out
	}
	equal(NetD, "in_channel", c.D.InChannel, "4·embed_dim", 4*c.G.EmbedDim)
	equal(NetD, "out_channel", c.D.OutChannel, "4·embed_dim", 4*c.G.EmbedDim)
	equal(NetD, "group", c.D.Group, "group", c.G.Group)
	return out
}

// Validate returns every wrong value, by option key, as one joined error.
func (c TransformerConfig) Validate() error {
	var p problems
	p.between("inp_channels", c.InpChannels, 1, maxWidth)
	p.between("out_channels", c.OutChannels, 1, maxWidth)
	p.between("dim", c.Dim, 2, maxWidth)
	if c.Dim%2 != 0 {
		p.addf("dim is %d: it must be even, as it is halved before a pixel shuffle", c.Dim)
	}
	for i, heads := range c.Heads {
		p.between(fmt.Sprintf("num_blocks[%d]", i), c.NumBlocks[i], 1, maxBlocks)
		if channels := c.Dim << i; heads < 1 || channels%heads != 0 {
			p.addf("heads[%d] is %d: it must divide the %d channels of level %d", i, heads, channels, i+1)
		}
	}
	p.between("num_refinement_blocks", c.NumRefinementBlocks, 0, maxBlocks)
	p.factor("ffn_expansion_factor", c.FFNExpansionFactor, c.Dim)
	if c.LayerNormType != WithBias && c.LayerNormType != BiasFree {
		p.addf("LayerNorm_type is %q: it must be %s or %s", c.LayerNormType, WithBias, BiasFree)
	}
	if !c.DualPixelTask && c.InpChannels != c.OutChannels {
		p.addf("out_channels is %d: it must equal inp_channels, %d, as the input is added to the output", c.OutChannels, c.InpChannels)
	}
	p.between("embed_dim", c.EmbedDim, 1, maxWidth)
	p.between("group", c.Group, 2, maxGroup)
	if c.Group == 3 {
		p.addf("group is 3: levels 2 and 3 would take one prior token, and it leaves them two")
	}
	return errors.Join(p...)
}

// Validate returns every wrong value, by option key, as one joined error.
func (c EncoderConfig) Validate() error {
	var p problems
	if c.Type != LatentEncoderGELU && c.Type != LatentEncoderLReLU {
		p.addf("type is %q: it must be %s or %s", c.Type, LatentEncoderGELU, LatentEncoderLReLU)
	}
	p.between("stage", c.Stage, 1, 2)
	if want := 9 - 3*c.Stage; (c.Stage == 1 || c.Stage == 2) && c.InChans != want {
		p.addf("in_chans is %d: it must be %d in stage %d", c.InChans, want, c.Stage)
	}
	p.between("embed_dim", c.EmbedDim, 1, maxWidth)
	p.between("block_num", c.BlockNum, 1, maxBlocks)
	p.between("group", c.Group, 1, maxGroup)
	p.factor("patch_expansion", c.PatchExpansion, c.Group*c.Group)
	p.factor("channel_expansion", c.ChannelExpansion, c.width())
	return errors.Join(p...)
}

// Validate returns every wrong value, by option key, as one joined error.
func (c DenoiserConfig) Validate() error {
	var p problems
	foreign := DenoiserConfig{NFeats: c.NFeats, NDenoiseRes: c.NDenoiseRes, Timesteps: c.Timesteps}
	switch c.Type {
	case Denoising:
		p.between("in_channel", c.InChannel, 1, 4*maxWidth)
		p.between("out_channel", c.OutChannel, 1, 4*maxWidth)
		p.between("inner_channel", c.InnerChannel, 1, 4*maxWidth)
		p.between("block_num", c.BlockNum, 3, maxBlocks)
		p.between("group", c.Group, 1, maxGroup)
		p.factor("patch_expansion", c.PatchExpansion, c.Group*c.Group)
		p.factor("channel_expansion", c.ChannelExpansion, c.InnerChannel)
	case SimpleDenoise:
		p.between("n_feats", c.NFeats, 1, maxWidth)
		p.between("n_denoise_res", c.NDenoiseRes, 1, maxBlocks)
		p.between("timesteps", c.Timesteps, 1, math.MaxInt32)
		foreign = c
		foreign.Type, foreign.NFeats, foreign.NDenoiseRes, foreign.Timesteps = "", 0, 0, 0
	default:
		p.addf("type is %q: it must be %s or %s", c.Type, Denoising, SimpleDenoise)
		return errors.Join(p...)
	}
	if foreign != (DenoiserConfig{}) {
		text, err := json.Marshal(foreign)
		if err != nil { // a NaN
			text = []byte(err.Error())
		}
		p.addf("%s are no options of %s", text, c.Type)
	}
	return errors.Join(p...)
}

// MarshalJSON writes the layout that [Config.UnmarshalJSON] reads, every option spelt out.
func (c Config) MarshalJSON() ([]byte, error) {
	le, d := c.LE, c.D
	le.Type, le.InChans, le.Stage = "", 0, 0 // the section is that of net_le too
	d.Type = ""
	return json.Marshal(struct {
		G    TransformerConfig `json:"g"`
		LE   [2]any            `json:"le"`
		D    [2]any            `json:"d"`
		Diff DiffusionConfig   `json:"diff"`
	}{c.G, [2]any{c.LE.Type, le}, [2]any{c.D.Type, d}, c.Diffusion})
}

// UnmarshalJSON reads the layout that safetensors metadata hold under "hidiff.config":
//
//	{"g": {…}, "le": ["latent_encoder_gelu", {…}], "d": ["denoising", {…}], "diff": {…}}
//
// All four are needed. Absent options take defaults; unknown ones are errors.
func (c *Config) UnmarshalJSON(data []byte) error {
	var raw struct {
		G    json.RawMessage   `json:"g"`
		LE   []json.RawMessage `json:"le"`
		D    []json.RawMessage `json:"d"`
		Diff json.RawMessage   `json:"diff"`
	}
	if err := decodeStrictly(data, &raw); err != nil {
		return err
	}
	var out Config
	if raw.G == nil || raw.Diff == nil {
		return errors.New("the configuration lacks g or diff")
	}
	if err := json.Unmarshal(raw.G, &out.G); err != nil {
		return fmt.Errorf("g: %w", err)
	}
	if err := decodeNamed(raw.LE, out.LE.decode); err != nil {
		return fmt.Errorf("le: %w", err)
	}
	if err := decodeNamed(raw.D, out.D.decode); err != nil {
		return fmt.Errorf("d: %w", err)
	}
	if err := json.Unmarshal(raw.Diff, &out.Diffusion); err != nil {
		return fmt.Errorf("diff: %w", err)
	}
	*c = out
	return nil
}

// decodeNamed reads [type, {options}].
func decodeNamed(pair []json.RawMessage, decode func(kind string, options []byte) error) error {
	if len(pair) != 2 {
		return errors.New("must be a list of a type and its options")
	}
	var kind string
	if err := json.Unmarshal(pair[0], &kind); err != nil {
		return err
	}
	return decode(kind, pair[1])
}

// UnmarshalJSON reads network_g of an option file. Absent options take the released code's
// defaults; unknown ones are errors.
func (c *TransformerConfig) UnmarshalJSON(data []byte) error {
	type plain TransformerConfig
	in := struct {
		plain
		Type      string `json:"type"`
		NumBlocks []int  `json:"num_blocks"` // slices, as an array would swallow a fifth number
		Heads     []int  `json:"heads"`
	}{plain: plain(defaultTransformer()), Type: "Transformer"}
	in.NumBlocks, in.Heads = in.plain.NumBlocks[:], in.plain.Heads[:]
	if err := decodeStrictly(data, &in); err != nil {
		return err
	}
	switch {
	case in.Type != "Transformer":
		return fmt.Errorf("type is %q: it must be Transformer", in.Type)
	case len(in.NumBlocks) != 4:
		return fmt.Errorf("num_blocks has %d numbers: it must have 4", len(in.NumBlocks))
	case len(in.Heads) != 4:
		return fmt.Errorf("heads has %d numbers: it must have 4", len(in.Heads))
	}
	*c = TransformerConfig(in.plain)
	c.NumBlocks, c.Heads = [4]int(in.NumBlocks), [4]int(in.Heads)
	return nil
}

// UnmarshalJSON reads network_le or network_le_dm of an option file. Absent options take
// the released values; unknown ones are errors.
func (c *EncoderConfig) UnmarshalJSON(data []byte) error { return decodeTyped(data, c.decode) }

// UnmarshalJSON reads network_d of an option file. Absent options take the released values;
// unknown ones are errors.
func (c *DenoiserConfig) UnmarshalJSON(data []byte) error { return decodeTyped(data, c.decode) }

// decodeTyped reads {"type": type, options}.
func decodeTyped(data []byte, decode func(kind string, options []byte) error) error {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	return decode(kind.Type, data)
}

func (c *EncoderConfig) decode(kind string, options []byte) error {
	type plain EncoderConfig
	in := plain(defaultEncoder(kind))
	if err := decodeStrictly(options, &in); err != nil {
		return err
	}
	if in.Type != kind {
		return fmt.Errorf("type is both %q and %q", kind, in.Type)
	}
	*c = EncoderConfig(in)
	return nil
}

func (c *DenoiserConfig) decode(kind string, options []byte) error {
	type plain DenoiserConfig
	in := plain(defaultDenoiser(kind))
	if err := decodeStrictly(options, &in); err != nil {
		return err
	}
	if in.Type != kind {
		return fmt.Errorf("type is both %q and %q", kind, in.Type)
	}
	*c = DenoiserConfig(in)
	return nil
}

// UnmarshalJSON reads diffusion_schedule of an option file. Absent options take the
// released values that belong to its apply_ldm; unknown ones are errors.
func (c *DiffusionConfig) UnmarshalJSON(data []byte) error {
	var family struct {
		ApplyLDM bool `json:"apply_ldm"`
	}
	if err := json.Unmarshal(data, &family); err != nil {
		return err
	}
	type plain DiffusionConfig
	in := plain(defaultDiffusion(family.ApplyLDM))
	if err := decodeStrictly(data, &in); err != nil {
		return err
	}
	*c = DiffusionConfig(in)
	return nil
}

// decodeStrictly decodes JSON and refuses keys that into has no field for.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
