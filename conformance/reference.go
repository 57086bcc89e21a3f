package conformance

import (
	"hidiff/hidiff"
	"hidiff/internal/ref"
)

// float64Networks compute with package ref what hidiff.Networks compute on a device.
type float64Networks struct {
	config hidiff.Config
	params map[hidiff.Network]ref.Params
}

// filling gives a parameter its values, row-major.
type filling func(net, key string, shape []int) []float32

func newFloat64Networks(c hidiff.Config, fill filling) float64Networks {
	r := float64Networks{c, map[hidiff.Network]ref.Params{}}
	for _, net := range networks {
		params := ref.Params{}
		for _, p := range c.Parameters(net) {
			params[p.Name] = ref.From(fill(string(net), p.Name, p.Shape), p.Shape...)
		}
		r.params[net] = params
	}
	return r
}

var networks = []hidiff.Network{hidiff.NetG, hidiff.NetLE, hidiff.NetLEDM, hidiff.NetD}

func (r float64Networks) oracle(lq, gt *ref.Array) *ref.Array {
	return r.params[hidiff.NetLE].LatentEncoder(latentEncoder(r.config.LE), gt, lq)
}

func (r float64Networks) condition(lq *ref.Array) *ref.Array {
	return r.params[hidiff.NetLEDM].LatentEncoder(latentEncoder(r.config.LE), lq)
}

func latentEncoder(c hidiff.EncoderConfig) ref.LatentEncoder {
	return ref.LatentEncoder{LeakyReLU: c.Type == hidiff.LatentEncoderLReLU, Blocks: c.BlockNum, Group: c.Group}
}

func (r float64Networks) sample(noise, condition *ref.Array) *ref.Array {
	s := r.config.Diffusion
	betas := ref.Betas(s.ApplyLDM, s.Schedule, s.Timesteps, s.LinearStart, s.LinearEnd)
	return ref.Sample(s.ApplyLDM, betas, noise, func(x *ref.Array, time int) *ref.Array {
		return denoise(r.params[hidiff.NetD], r.config.D, x, condition, time)
	})
}

func denoise(p ref.Params, c hidiff.DenoiserConfig, x, condition *ref.Array, time int) *ref.Array {
	if c.Type == hidiff.SimpleDenoise {
		return p.SimpleDenoise(c.NDenoiseRes, float64(10*c.Timesteps), x, condition, time)
	}
	return p.Denoising(c.BlockNum, x, condition, time)
}

func (r float64Networks) restore(lq, prior *ref.Array) *ref.Array {
	c := r.config.G
	return r.params[hidiff.NetG].Transformer(ref.Transformer{
		Blocks: c.NumBlocks, Refinement: c.NumRefinementBlocks, Heads: c.Heads, Group: c.Group, DualPixel: c.DualPixelTask,
	}, lq, prior)
}
