package hidiff

import (
	"hidiff/autograd"
	"hidiff/hidiff/checkpoint"
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

	trained []*owned // what the networks own that are not frozen
}

// NewNetworks uploads the networks that nets holds; absent ones stay nil. The
// state dicts must have passed [Check] against c.
func NewNetworks(d *tensor.Device, c Config, nets map[Network]*checkpoint.StateDict) (n *Networks, err error) {
	defer tensor.Catch(&err)
	loaders := map[Network]loader{}
	for net, state := range nets {
		loaders[net] = newLoader(d, state)
	}
	return newNetworks(c, loaders)
}

func newNetworks(c Config, loaders map[Network]loader) (n *Networks, err error) {
	n = &Networks{Config: c}
	made := func(l loader, mine *owned) {
		if l.trained != nil {
			n.trained = append(n.trained, mine)
		}
	}
	if l, ok := loaders[NetG]; ok {
		n.g = newTransformer(l, c.G)
		made(l, &n.g.mine)
	}
	if l, ok := loaders[NetLE]; ok {
		n.le = newEncoder(l, c.StageOne())
		made(l, &n.le.mine)
	}
	if l, ok := loaders[NetLEDM]; ok {
		n.dm = newEncoder(l, c.LE)
		made(l, &n.dm.mine)
	}
	if l, ok := loaders[NetD]; ok {
		if n.d, err = newDenoiser(l, c.D, c.Diffusion); err != nil {
			return nil, err
		}
		made(l, &n.d.mine)
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

// Restore deblurs images lq [N, H, W, 3], H and W multiples of 8, under a
// prior.
func (n *Networks) Restore(lq, prior *tensor.Tensor) *tensor.Tensor {
	return n.g.forward(autograd.Constant(lq), autograd.Constant(prior)).Tensor
}

// repack makes changed parameters take effect.
func (n *Networks) repack() {
	for _, o := range n.trained {
		o.Repack()
	}
}

func (n *Networks) owners() (all []*owned) {
	if n.g != nil {
		all = append(all, &n.g.mine)
	}
	for _, e := range []*encoder{n.le, n.dm} {
		if e != nil {
			all = append(all, &e.mine)
		}
	}
	if n.d != nil {
		all = append(all, &n.d.mine)
	}
	return all
}

// Release frees the networks.
func (n *Networks) Release() {
	for _, o := range n.owners() {
		o.Release()
	}
}
