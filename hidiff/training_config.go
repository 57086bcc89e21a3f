package hidiff

import "fmt"

// Sections are the parts of an option file that describe networks. What a stage
// does not train may be zero.
type Sections struct {
	G         TransformerConfig
	LE, LEDM  EncoderConfig
	D         DenoiserConfig
	Diffusion DiffusionConfig
}

// Config returns the configuration that a stage trains. Stage one says nothing
// about the diffusion; what is released with its kind of encoder stands in.
func (s Sections) Config(stage int) (Config, error) {
	if stage == 1 {
		c := GoPro()
		if s.LE.Type == LatentEncoderLReLU {
			c = RealBlur()
		}
		c.G, c.LE = s.G, s.LE
		c.LE.InChans, c.LE.Stage = 3, 2
		if c.D.Type == SimpleDenoise {
			c.D.NFeats = c.G.EmbedDim
		} else {
			c.D.InChannel, c.D.OutChannel, c.D.Group = 4*c.G.EmbedDim, 4*c.G.EmbedDim, c.G.Group
		}
		return c, s.agree(c)
	}
	c := Config{s.G, s.LEDM, s.D, s.Diffusion}
	return c, s.agree(c)
}

// agree checks that net_le is the encoder that the configuration takes it for.
func (s Sections) agree(c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if want := c.StageOne(); s.LE != want {
		return fmt.Errorf("network_le is %+v: it must be %+v, which differs from network_le_dm in in_chans and stage alone", s.LE, want)
	}
	return nil
}
