package hidiff

import (
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
}

// NewNetworks uploads the networks that nets holds; absent ones stay nil. The
// state dicts must have passed [Check] against c.
func NewNetworks(d *tensor.Device, c Config, nets map[Network]*checkpoint.StateDict) (n *Networks, err error) {
	defer tensor.Catch(&err)
	n = &Networks{Config: c}
	if s := nets[NetG]; s != nil {
		n.g = newTransformer(d, c.G, s)
	}
	if s := nets[NetLE]; s != nil {
		n.le = newEncoder(d, c.StageOne(), s)
	}
	if s := nets[NetLEDM]; s != nil {
		n.dm = newEncoder(d, c.LE, s)
	}
	if s := nets[NetD]; s != nil {
		if n.d, err = newDenoiser(d, c.D, c.Diffusion, s); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Oracle is stage one's prior [N, group², 4*embed_dim] of images [N, H, W, 3],
// which sees the sharp one.
func (n *Networks) Oracle(lq, gt *tensor.Tensor) *tensor.Tensor { return n.le.forward(gt, lq) }

// Condition is stage two's encoding of the blurry images [N, H, W, 3], shaped
// as a prior.
func (n *Networks) Condition(lq *tensor.Tensor) *tensor.Tensor { return n.dm.forward(lq) }

// Sample runs the reverse diffusion from standard normal noise
// [N, group², 4*embed_dim] to a prior.
func (n *Networks) Sample(noise, condition *tensor.Tensor) *tensor.Tensor {
	return n.d.sample(noise, condition)
}

// Restore deblurs images lq [N, H, W, 3], H and W multiples of 8, under a
// prior.
func (n *Networks) Restore(lq, prior *tensor.Tensor) *tensor.Tensor { return n.g.forward(lq, prior) }

// Release frees the networks.
func (n *Networks) Release() {
	if n.g != nil {
		n.g.release()
	}
	for _, e := range []*encoder{n.le, n.dm} {
		if e != nil {
			e.release()
		}
	}
	if n.d != nil {
		n.d.release()
	}
}
