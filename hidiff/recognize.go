package hidiff

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// Network names one of HI-Diff's networks as files and options do.
type Network string

// The networks. NetLE belongs to stage one of training and sees the sharp image; the
// others are what deblurring needs.
const (
	NetG    Network = "net_g"
	NetLE   Network = "net_le"
	NetLEDM Network = "net_le_dm"
	NetD    Network = "net_d"
)

// Recognize finds out which network a state_dict is and what configures it, from the names
// and shapes of its tensors alone: a [TransformerConfig] for net_g, an [EncoderConfig] for
// net_le and net_le_dm, a [DenoiserConfig] for net_d. Options that leave no trace in the
// tensors take their released values, and factors the simplest number that gives the sizes.
//
// A few missing or damaged tensors do not keep a network from being recognised: compare it
// with the Parameters of its configuration by [Check]. Recognize fails where the tensors are
// none of these networks, or where one that it reads a size from is missing or impossible.
func Recognize(sd *checkpoint.StateDict) (Network, any, error) {
	t := traits{sd: sd}
	net := t.network()
	var config networkConfig
	switch {
	case sd.Len() == 0:
		return "", nil, errors.New("the state_dict is empty")
	case net == NetG && !t.any("down_1."):
		return "", nil, errors.New("this is a Restormer, not HI-Diff's net_g: it has no down_1 to take a prior")
	case net == NetG:
		config = t.transformer()
	case net == NetLE, net == NetLEDM:
		config = t.encoder()
	case net == NetD && t.any("first_layer."):
		config = t.denoising()
	case net == NetD:
		config = t.simpleDenoise()
	default:
		return "", nil, fmt.Errorf("this is none of HI-Diff's networks: its %s", summary(sd))
	}
	if t.err == nil {
		t.err = config.Validate()
	}
	if t.err != nil {
		return "", nil, fmt.Errorf("this looks like %s, but %w", net, t.err)
	}
	return net, config, nil
}

// networkConfig is what all configurations of a network can do.
type networkConfig interface {
	Validate() error
	Parameters() []ParameterSpec
}

// summary tells what is in a state_dict.
func summary(sd *checkpoint.StateDict) string {
	return fmt.Sprintf("%d parameters begin with %s", sd.Len(), firstOf(sd.Keys(), 3))
}

// traits reads sizes off a state_dict and keeps the first error.
type traits struct {
	sd  *checkpoint.StateDict
	err error
}

// network is which network this is by the names of its parameters, "" if none; net_le and net_le_dm differ
// in their input alone.
func (t *traits) network() Network {
	switch {
	case t.any("encoder_level1."):
		return NetG
	case t.any("first_layer."), t.any("resmlp."):
		return NetD
	case !t.any("conv1.0."):
		return ""
	}
	if first, ok := t.sd.Get("conv1.0.weight"); ok && len(first.Shape) > 1 && first.Shape[1]/16 == 6 {
		return NetLE
	}
	return NetLEDM
}

func (t *traits) transformer() TransformerConfig {
	c := defaultTransformer()
	c.Dim = t.size("patch_embed.proj.weight", 0)
	c.InpChannels = t.size("patch_embed.proj.weight", 1)
	c.OutChannels = t.size("output.weight", 0)
	c.EmbedDim = t.size("down_1.3.weight", 0) / 4
	c.Group = t.root("down_1.1.weight", 1)
	var dims, hidden []int
	for level, layer := range []string{"encoder_level1.", "encoder_level2.", "encoder_level3.", "latent."} {
		c.NumBlocks[level] = t.count(layer + "blocks.")
		c.Heads[level] = t.size(layer+"blocks.0.attn.temperature", 0)
		dims = append(dims, c.Dim<<level)
		hidden = append(hidden, t.size(layer+"blocks.0.ffn.project_out.weight", 1))
	}
	c.NumRefinementBlocks = t.count("refinement.blocks.")
	c.FFNExpansionFactor = t.factor("ffn_expansion_factor", c.FFNExpansionFactor, dims, hidden)
	c.DualPixelTask = t.any("skip_conv.")
	c.LayerNormType = BiasFree
	for key := range t.sd.All() {
		if strings.HasSuffix(key, ".norm1.body.bias") {
			c.LayerNormType = WithBias
		}
		if strings.HasSuffix(key, ".attn.qkv.bias") {
			c.Bias = true
		}
	}
	return c
}

func (t *traits) encoder() EncoderConfig {
	c := defaultEncoder(LatentEncoderGELU)
	if t.any("conv2.0.") {
		c.Type = LatentEncoderLReLU
	}
	c.EmbedDim = t.size("conv1.0.weight", 0)
	c.InChans = t.size("conv1.0.weight", 1) / 16
	if c.InChans == 6 {
		c.Stage = 1
	}
	c.BlockNum = t.count("blocks.")
	c.Group, c.PatchExpansion, c.ChannelExpansion = t.mixer("mlp.", c.PatchExpansion, c.ChannelExpansion)
	return c
}

func (t *traits) denoising() DenoiserConfig {
	c := defaultDenoiser(Denoising)
	c.InChannel = t.size("first_layer.0.weight", 1) / 3
	c.InnerChannel = t.size("first_layer.0.weight", 0)
	c.OutChannel = c.InChannel // as the sampler feeds one step's output to the next
	c.BlockNum = t.count("blocks.") + 2
	c.Group, c.PatchExpansion, c.ChannelExpansion = t.mixer("blocks.0.0.", c.PatchExpansion, c.ChannelExpansion)
	return c
}

func (t *traits) simpleDenoise() DenoiserConfig {
	c := defaultDenoiser(SimpleDenoise)
	c.NFeats = t.size("resmlp.0.weight", 0) / 4
	c.NDenoiseRes = t.count("resmlp.") - 1
	return c
}

// mixer returns the options of the mixer MLP under prefix.
func (t *traits) mixer(prefix string, preferPatch, preferChannel float64) (group int, patch, channel float64) {
	group = t.root(prefix+"patch_mixer.0.weight", 1)
	sizes := func(key string) (in, out []int) { return []int{t.size(key, 1)}, []int{t.size(key, 0)} }
	in, out := sizes(prefix + "patch_mixer.0.weight")
	patch = t.factor("patch_expansion", preferPatch, in, out)
	in, out = sizes(prefix + "channel_mixer.0.weight")
	channel = t.factor("channel_expansion", preferChannel, in, out)
	return group, patch, channel
}

// any reports whether a key begins with prefix.
func (t *traits) any(prefix string) bool {
	for key := range t.sd.All() {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// count returns how many numbers follow prefix in keys.
func (t *traits) count(prefix string) int {
	seen := map[string]bool{}
	for key := range t.sd.All() {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			number, _, _ := strings.Cut(rest, ".")
			if _, err := strconv.ParseUint(number, 10, 32); err == nil {
				seen[number] = true
			}
		}
	}
	return len(seen)
}

// size returns one size of a tensor's shape; 0, and an error for later, where there is none.
func (t *traits) size(key string, axis int) int {
	array, ok := t.sd.Get(key)
	switch {
	case ok && axis < len(array.Shape):
		return array.Shape[axis]
	case t.err != nil:
	case ok:
		t.err = fmt.Errorf("%s has the shape %v", key, array.Shape)
	default:
		t.err = fmt.Errorf("it lacks %s", key)
	}
	return 0
}

// root returns the square root of a size, that of group² tokens.
func (t *traits) root(key string, axis int) int {
	size := t.size(key, axis)
	root := int(math.Round(math.Sqrt(float64(size))))
	if root*root != size && t.err == nil {
		t.err = fmt.Errorf("%s takes %d tokens, which is no square", key, size)
	}
	return root
}

// factor returns the preferred factor if int(in·factor) gives every size of out, else the
// one of fewest decimals that does.
func (t *traits) factor(option string, preferred float64, in, out []int) float64 {
	fits := func(factor float64) bool {
		for i, n := range in {
			if expand(n, factor) != out[i] {
				return false
			}
		}
		return true
	}
	if t.err != nil || fits(preferred) {
		return preferred
	}
	least := 0.0
	for i, n := range in {
		least = max(least, float64(out[i])/float64(n))
	}
	for scale := 1.0; scale <= 1e15; scale *= 10 {
		if factor := math.Ceil(least*scale) / scale; fits(factor) {
			return factor
		}
	}
	t.err = fmt.Errorf("no %s widens %v to %v", option, in, out)
	return preferred
}

// Check compares a state_dict with what its network needs. The error counts all parameters
// that are missing, unknown or of another shape, and names the first ten of each kind.
func Check(specs []ParameterSpec, sd *checkpoint.StateDict) error {
	var missing, unknown, misshapen []string
	known := map[string]bool{}
	for _, spec := range specs {
		known[spec.Name] = true
		if array, ok := sd.Get(spec.Name); !ok {
			missing = append(missing, fmt.Sprintf("%s %v", spec.Name, spec.Shape))
		} else if !slices.Equal(array.Shape, spec.Shape) {
			misshapen = append(misshapen, fmt.Sprintf("%s is %v instead of %v", spec.Name, array.Shape, spec.Shape))
		}
	}
	for key, array := range sd.All() {
		if !known[key] {
			unknown = append(unknown, fmt.Sprintf("%s %v", key, array.Shape))
		}
	}
	var parts []string
	for _, kind := range []struct {
		what string
		list []string
	}{{"missing", missing}, {"unknown", unknown}, {"of wrong shape", misshapen}} {
		if len(kind.list) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", len(kind.list), kind.what, firstOf(kind.list, 10)))
		}
	}
	if parts == nil {
		return nil
	}
	return fmt.Errorf("parameters do not fit: %s", strings.Join(parts, "; "))
}

// firstOf joins at most n of the words.
func firstOf(words []string, n int) string {
	if len(words) <= n {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:n], ", ") + ", …"
}
