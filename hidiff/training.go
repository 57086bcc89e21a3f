package hidiff

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/streams"
	"hidiff/tensor"
)

// TrainingOptions say which stage is trained, and by which losses.
type TrainingOptions struct {
	Stage     int         // 1: net_g with net_le; 2: net_g with the diffusion, net_le frozen
	Pixel     tensor.Loss // l_pix, of the picture
	PixelDiff tensor.Loss // l_pix_diff, of the prior; stage two only
}

// Training is one stage of training on a device. Source: HI-Diff §3.3; the
// released HI_Diff_S1, HI_Diff_S2. Methods panic as package tensor does;
// recover with [tensor.Catch].
type Training struct {
	*Networks
	o      TrainingOptions
	device *tensor.Device
	params *tensor.Parameters
}

// Trained returns the networks that a stage trains, in the optimizer's order.
func (c Config) Trained(stage int) []Network {
	switch {
	case stage == 1:
		return []Network{NetG, NetLE}
	case c.Diffusion.ApplyLDM:
		return []Network{NetG, NetD, NetLEDM}
	}
	return []Network{NetG, NetLEDM, NetD}
}

// NewTraining puts the networks of a stage on a device, with the values in
// nets, which must hold those that are trained, and in stage two net_le.
func NewTraining(d *tensor.Device, c Config, nets map[Network]*checkpoint.StateDict, o TrainingOptions) (t *Training, err error) {
	defer tensor.Catch(&err)
	if o.Stage != 1 && o.Stage != 2 {
		return nil, fmt.Errorf("stage %d: HI-Diff is trained in stages 1 and 2", o.Stage)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	t = &Training{o: o, device: d}
	trained := c.Trained(o.Stage)
	var specs []tensor.ParameterSpec
	needed := trained
	if o.Stage == 2 {
		needed = append([]Network{NetLE}, trained...)
	}
	for _, net := range needed {
		if nets[net] == nil {
			return nil, fmt.Errorf("stage %d needs %s", o.Stage, net)
		}
		if err := Check(c.Parameters(net), nets[net]); err != nil {
			return nil, fmt.Errorf("%s: %w", net, err)
		}
	}
	for _, net := range trained {
		for _, p := range c.Parameters(net) {
			a, _ := nets[net].Get(p.Name)
			specs = append(specs, tensor.ParameterSpec{Name: string(net) + "." + p.Name, Shape: p.Shape, Values: a.Float32s()})
		}
	}
	t.params = tensor.NewParameters(d, specs)
	byName := map[string]*tensor.Parameter{}
	for _, p := range t.params.All() {
		byName[p.Name] = p
	}
	t.Networks, err = newNetworks(c, func(net Network, n *Networks) (l loader, ok bool) {
		if slices.Contains(trained, net) {
			return newTrainedLoader(d, byName, &n.trained).at("%s", net), true
		}
		return newLoader(d, nets[net], &n.frozen), slices.Contains(needed, net)
	})
	return t, err
}

// Parameters are those that are trained, named with their network in front, in
// the optimizer's order.
func (t *Training) Parameters() *tensor.Parameters { return t.params }

// LossNames are BasicSR's names of what Loss returns.
func (t *Training) LossNames() []string {
	if t.o.Stage == 1 {
		return []string{"l_pix"}
	}
	return []string{"l_pix", "l_pix_diff"}
}

// Loss records the forward pass for blurry and sharp images [N, H, W, 3], H and
// W multiples of 8, and returns the losses whose sum is to become small. In
// stage two the diffusion starts from noise drawn by seed.
func (t *Training) Loss(tape *autograd.Tape, lq, gt *tensor.Tensor, seed uint64) []*autograd.Variable {
	if t.o.Stage == 1 {
		return t.LossFrom(tape, lq, gt, nil)
	}
	n := lq.Shape()[0]
	noise := tensor.From(t.device, normal(seed, "training", n*t.Config.priorLen()), t.priorShape(n)...)
	defer noise.Release()
	return t.LossFrom(tape, lq, gt, noise)
}

func (t *Training) priorShape(n int) []int {
	g := t.Config.G
	return []int{n, g.Group * g.Group, 4 * g.EmbedDim}
}

// LossFrom is Loss with the diffusion's noise [N, group², 4*embed_dim] given.
func (t *Training) LossFrom(tape *autograd.Tape, lq, gt, noise *tensor.Tensor) []*autograd.Variable {
	blurry, sharp := tape.Input(lq), tape.Input(gt)
	oracle := t.le.forward(sharp, blurry)
	defer oracle.Release()
	prior := oracle
	if t.o.Stage == 2 {
		condition := t.dm.forward(blurry)
		defer condition.Release()
		start := t.d.start(oracle, tape.Input(noise))
		defer start.Release()
		prior = t.d.sample(start, condition)
		defer prior.Release()
	}
	out := t.g.forward(blurry, prior)
	defer out.Release()
	losses := []*autograd.Variable{autograd.Loss(t.o.Pixel, out, sharp)}
	if t.o.Stage == 2 {
		losses = append(losses, autograd.Loss(t.o.PixelDiff, oracle, prior))
	}
	return losses
}

// Repack makes changed parameters take effect.
func (t *Training) Repack() { t.repack() }

// Validate restores images lq [N, H, W, 3], H and W multiples of 8: in stage
// one under the oracle prior, which sees the sharp ones gt, in stage two under
// the prior sampled from noise drawn by seed.
func (t *Training) Validate(lq, gt *tensor.Tensor, seed uint64) *tensor.Tensor {
	var prior *tensor.Tensor
	if t.o.Stage == 1 {
		prior = t.Networks.Oracle(lq, gt)
	} else {
		n := lq.Shape()[0]
		noise := tensor.From(t.device, normal(seed, "validation", n*t.Config.priorLen()), t.priorShape(n)...)
		condition := t.Condition(lq)
		prior = t.Sample(noise, condition)
		noise.Release()
		condition.Release()
	}
	defer prior.Release()
	return t.Networks.Transform(lq, prior)
}

// Release frees networks and parameters.
func (t *Training) Release() {
	t.Networks.Release()
	t.params.Release()
}

// InitialWeights draws what training starts from, as PyTorch initialises these
// networks: uniform within 1/√fan_in for maps and convolutions and their
// biases, ones and zeros for norms, ones for temperatures, 1e-3 for time_mlp.
func InitialWeights(c Config, seed uint64) *Weights {
	fans := map[string]int{}
	for _, net := range allNetworks {
		for _, p := range c.Parameters(net) {
			if stem, ok := strings.CutSuffix(p.Name, ".weight"); ok && len(p.Shape) > 1 {
				fan := 1
				for _, n := range p.Shape[1:] {
					fan *= n
				}
				fans[string(net)+"."+stem] = fan
			}
		}
	}
	return FillWeights(c, func(net, key string, shape []int) []float32 {
		n := 1
		for _, s := range shape {
			n *= s
		}
		values := make([]float32, n)
		stem := net + "." + key[:max(0, strings.LastIndexByte(key, '.'))]
		fan, drawn := fans[stem]
		r := streams.Named(seed, net+"."+key)
		bound := 1 / math.Sqrt(float64(fan))
		for i := range values {
			switch {
			case drawn:
				values[i] = float32((2*r.Float64() - 1) * bound)
			case key == "time_mlp":
				values[i] = 1e-3
			case !strings.HasSuffix(key, ".bias"):
				values[i] = 1
			}
		}
		return values
	})
}

// UsesOracle says that Validate looks at the sharp images.
func (t *Training) UsesOracle() bool { return t.o.Stage == 1 }
