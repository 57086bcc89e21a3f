package hidiff

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hidiff/hidiff/photo"
	"hidiff/tensor"
)

// Prior is where the Transformer's prior comes from. Restoring takes
// [SampledPrior]; the others are for studies of what the prior is worth.
type Prior string

// The priors.
const (
	SampledPrior Prior = "sampled" // stage two's, which the diffusion makes of noise under the blurry image; "" means this, too
	ZeroPrior    Prior = "zero"    // nothing but zeros
	OraclePrior  Prior = "oracle"  // stage one's, which net_le makes of the sharp image and the blurry one
)

// Priors are all there are.
var Priors = []Prior{SampledPrior, ZeroPrior, OraclePrior}

// Networks returns the networks that restoring under a prior needs.
func (p Prior) Networks() []Network {
	switch p {
	case ZeroPrior:
		return []Network{NetG}
	case OraclePrior:
		return []Network{NetG, NetLE}
	}
	return deblurNetworks
}

// needs says what it takes, for messages.
func (p Prior) needs() string {
	switch p {
	case ZeroPrior:
		return "the prior zero needs net_g"
	case OraclePrior:
		return "the prior oracle needs net_g and net_le"
	}
	return "deblurring needs net_g, net_le_dm and net_d"
}

// keepNeeded drops the networks that a prior other than the sampled one has no use for.
func (l *gatherer) keepNeeded() {
	if l.prior == "" || l.prior == SampledPrior {
		return
	}
	for net := range l.w.Nets {
		if !slices.Contains(l.prior.Networks(), net) {
			delete(l.w.Nets, net)
			delete(l.w.Sources, net)
			delete(l.w.DTypes, net)
		}
	}
}

// standIn sets the configuration of weights without a diffusion: that of net_g and, if it is there, of net_le, completed
// as stage one's is.
func (l *gatherer) standIn() error {
	g := l.configs[NetG].(TransformerConfig)
	le := defaultEncoder(LatentEncoderGELU)
	le.InChans, le.Stage, le.EmbedDim, le.Group = 6, 1, g.EmbedDim, g.Group
	if l.w.Nets[NetLE] != nil {
		le = l.configs[NetLE].(EncoderConfig)
	}
	if le.EmbedDim != g.EmbedDim || le.Group != g.Group {
		return fmt.Errorf("net_g from %s and net_le from %s do not belong together: embed_dim is %d and %d, and group %d and %d",
			l.w.Sources[NetG], l.w.Sources[NetLE], g.EmbedDim, le.EmbedDim, g.Group, le.Group)
	}
	l.w.Config = stageOne(g, le)
	if err := l.w.Config.agrees(le); err != nil {
		return fmt.Errorf("the weights make no model that can run: %w", err)
	}
	return nil
}

// has says which networks are missing that a prior needs, if any.
func (w *Weights) has(p Prior) error {
	if p != "" && !slices.Contains(Priors, p) {
		return fmt.Errorf("%q is no prior: it must be sampled, zero or oracle", p)
	}
	var missing []string
	for _, net := range p.Networks() {
		if w.Nets[net] == nil {
			missing = append(missing, string(net))
		}
	}
	if missing != nil {
		return fmt.Errorf("the weights lack %s, which this prior needs", strings.Join(missing, " and "))
	}
	return nil
}

// checkTarget says why a photo cannot be restored with that target, if so.
func (o *RestoreOptions) checkTarget(p *photo.Photo) error {
	t := o.Target
	switch {
	case t == nil && o.Prior == OraclePrior:
		return errors.New("an oracle prior sees the sharp photo, and none was given")
	case t != nil && (t.Width != p.Width || t.Height != p.Height):
		return fmt.Errorf("the sharp photo is %d×%d pixels and the blurry one %d×%d: they must be of one size", t.Width, t.Height, p.Width, p.Height)
	}
	return nil
}

// upload returns a photo as an image [1, H, W, 3], H and W rounded up to
// multiples of 8.
func upload(d *tensor.Device, p *photo.Photo) *tensor.Tensor {
	return tensor.FromPixels(d, p.Pix, p.Max, p.Width, p.Height, p.Channels, roundUp(p.Width), roundUp(p.Height))
}

// prior makes the prior [1, group², 4*embed_dim] of an image lq. target is nil
// but for [OraclePrior].
func (n *Networks) prior(d *tensor.Device, lq *tensor.Tensor, target *photo.Photo, noise []float32, kind Prior) *tensor.Tensor {
	g := n.Config.G
	shape := []int{1, g.Group * g.Group, 4 * g.EmbedDim}
	switch kind {
	case ZeroPrior:
		return tensor.From(d, make([]float32, len(noise)), shape...)
	case OraclePrior:
		gt := upload(d, target)
		defer gt.Release()
		return n.Oracle(lq, gt)
	}
	x := tensor.From(d, noise, shape...)
	defer x.Release()
	c := n.Condition(lq)
	defer c.Release()
	return n.Sample(x, c)
}
