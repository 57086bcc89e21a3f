package hidiff

import (
	"context"

	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
	"hidiff/internal/diffusion"
	"hidiff/tensor"
)

// Networks are the networks of a model on a device, and the steps that connect
// them. It is what [Model] runs, and what conformance and training build on.
// Methods panic as package tensor does; recover with [tensor.Catch].
type Networks struct {
	Config Config

	g      *transformer
	le, dm *encoder // stage one's, stage two's
	d      *denoiser

	frozen, trained owned
}

// NewNetworks uploads the networks that nets holds; absent ones stay nil. The
// state dicts must have passed [Check] against c.
func NewNetworks(ctx context.Context, d *tensor.Device, c Config, nets map[Network]*checkpoint.StateDict) (n *Networks, err error) {
	defer tensor.Catch(&err)
	return newNetworks(c, func(net Network, n *Networks) (l loader, ok bool) {
		l = newLoader(d, nets[net], &n.frozen)
		load := l.param
		l.param = func(key string, shape []int) *tensor.Parameter {
			abortIf(ctx.Err())
			return load(key, shape)
		}
		return l, nets[net] != nil
	})
}

// newNetworks makes the networks that there are loaders for.
func newNetworks(c Config, load func(Network, *Networks) (l loader, ok bool)) (*Networks, error) {
	n := &Networks{Config: c}
	if l, ok := load(NetG, n); ok {
		n.g = newTransformer(l, c.G)
	}
	if l, ok := load(NetLE, n); ok {
		n.le = newEncoder(l, c.StageOne())
	}
	if l, ok := load(NetLEDM, n); ok {
		n.dm = newEncoder(l, c.LE)
	}
	if l, ok := load(NetD, n); ok {
		schedule, err := diffusion.NewSchedule(diffusion.Options(c.Diffusion))
		if err != nil {
			return nil, err
		}
		n.d = newDenoiser(l, c.D, c.Diffusion.ApplyLDM, schedule)
	}
	return n, nil
}

// Oracle is stage one's prior [N, group², 4*embed_dim] of images [N, H, W, 3],
// which sees the sharp one.
func (n *Networks) Oracle(lq, gt *tensor.Tensor) *tensor.Tensor {
	return n.le.forward(autograd.Constant(gt), autograd.Constant(lq)).Tensor
}

// Condition is stage two's encoding of the blurry images [N, H, W, 3], shaped
// as a prior.
func (n *Networks) Condition(lq *tensor.Tensor) *tensor.Tensor {
	return n.dm.forward(autograd.Constant(lq)).Tensor
}

// Sample runs the reverse diffusion from standard normal noise
// [N, group², 4*embed_dim] to a prior.
func (n *Networks) Sample(noise, condition *tensor.Tensor) *tensor.Tensor {
	return n.d.sample(autograd.Constant(noise), autograd.Constant(condition)).Tensor
}

// Transform deblurs images lq [N, H, W, 3], H and W multiples of 8, under a
// prior.
func (n *Networks) Transform(lq, prior *tensor.Tensor) *tensor.Tensor {
	return n.g.forward(autograd.Constant(lq), autograd.Constant(prior)).Tensor
}

// repack makes changed parameters take effect.
func (n *Networks) repack() { n.trained.Repack() }

// Release frees the networks.
func (n *Networks) Release() {
	n.frozen.Release()
	n.trained.Release()
}
