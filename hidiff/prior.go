package hidiff

import (
	"fmt"
	"slices"
	"strings"
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
