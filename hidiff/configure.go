package hidiff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hidiff/hidiff/options"
)

// configure decides on the configuration of what was loaded. The first of these counts, and must
// be that of the networks which are there:
//
//  1. an option file that is given: [Weights.Configure] comes after this;
//  2. the metadata of a safetensors file;
//  3. the option file that training keeps beside an experiment's folder of models;
//  4. the tensors, with the diffusion that was released with this kind of net_d.
//
// Tensors do not tell how many steps the diffusion has, nor their betas, and .pth files hold no more.
func (l *gatherer) configure() error {
	w := l.w
	if l.stated != "" {
		if err := w.describedBy(w.Config); err != nil {
			return fmt.Errorf("%s from %s does not fit the configuration in the metadata of %s: %w", err.Net, err.Source, l.stated, err.Err)
		}
		return nil
	}
	if w.Nets[NetLEDM] == nil || w.Nets[NetD] == nil {
		return l.standIn()
	}
	d := l.configs[NetD].(DenoiserConfig)
	w.Config = Config{l.configs[NetG].(TransformerConfig), l.configs[NetLEDM].(EncoderConfig), d, defaultDiffusion(d.Type == SimpleDenoise)}
	apart := w.Config.mismatches()
	if le, ok := l.configs[NetLE]; ok && le != w.Config.StageOne() {
		apart = append(apart, mismatch{NetLE, NetLEDM, "their options differ"})
	}
	var errs []error
	for _, m := range apart {
		errs = append(errs, fmt.Errorf("%s from %s and %s from %s do not belong together: %s", m.a, w.Sources[m.a], m.b, w.Sources[m.b], m.what))
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	if err := w.Config.Validate(); err != nil {
		return fmt.Errorf("the weights make no model that can run: %w", err)
	}
	file := w.trainedBy()
	if file == "" {
		return nil
	}
	o, err := options.Load(file, nil)
	if err != nil {
		return err
	}
	return w.Configure(o)
}

// trainedBy is the option file beside the folder of models that net_d is from, "" where there is none.
func (w *Weights) trainedBy() string {
	source, err := filepath.Abs(w.Sources[NetD])
	models := filepath.Dir(source)
	experiment := filepath.Dir(models)
	file := filepath.Join(experiment, filepath.Base(experiment)+".yml")
	if _, missing := os.Stat(file); err != nil || missing != nil || filepath.Base(models) != "models" {
		return ""
	}
	return file
}

// OtherNetworksError says that an option file describes another network than was loaded.
type OtherNetworksError struct {
	File   string // the option file
	Net    Network
	Source string // of the network
	Err    error  // how they differ
}

func (e *OtherNetworksError) Error() string {
	return fmt.Sprintf("%s describes another %s than %s is: %v", e.File, e.Net, e.Source, e.Err)
}

func (e *OtherNetworksError) Unwrap() error { return e.Err }

// describedBy compares the networks with a configuration.
func (w *Weights) describedBy(c Config) *OtherNetworksError {
	for _, net := range allNetworks {
		if sd := w.Nets[net]; sd != nil {
			if err := Check(c.Parameters(net), sd); err != nil {
				return &OtherNetworksError{Net: net, Source: w.Sources[net], Err: err}
			}
		}
	}
	return nil
}

// Configure sets the configuration to that of an option file, in place of that which
// [LoadWeights] found. It fails with an [OtherNetworksError] where the file describes other
// networks, and where it is of stage one and there is a net_d.
func (w *Weights) Configure(o *options.Options) error {
	if o.ModelType == options.HIDiffS1 && w.Nets[NetD] != nil {
		return fmt.Errorf("%s is of stage one, which has no diffusion: name that of stage two", o.File)
	}
	_, c, err := ConfigOf(o)
	if err != nil {
		return err
	}
	if err := w.describedBy(c); err != nil {
		err.File = o.File
		return err
	}
	w.Config = c
	return nil
}

// ConfigOf returns the stage that an option file is of, and the configuration of its networks.
// Stage one says nothing about the diffusion; what is released with its kind of encoder stands in.
func ConfigOf(o *options.Options) (stage int, c Config, err error) {
	var le EncoderConfig
	err = errors.Join(o.NetworkG.Decode(&c.G), o.NetworkLE.Decode(&le))
	if stage = 1; o.ModelType == options.HIDiffS2 {
		stage = 2
		if err == nil {
			err = errors.Join(o.NetworkLEDM.Decode(&c.LE), o.NetworkD.Decode(&c.D), o.Diffusion.Decode(&c.Diffusion))
		}
	}
	if err != nil {
		return stage, c, err
	}
	if stage == 1 {
		c = stageOne(c.G, le)
	}
	if err := c.agrees(le); err != nil {
		return stage, c, fmt.Errorf("%s: %w", o.Name, err)
	}
	return stage, c, nil
}

// stageOne completes what stage one says.
func stageOne(g TransformerConfig, le EncoderConfig) Config {
	c := GoPro()
	if le.Type == LatentEncoderLReLU {
		c = RealBlur()
	}
	c.G, c.LE = g, le
	c.LE.InChans, c.LE.Stage = 3, 2
	if c.D.Type == SimpleDenoise {
		c.D.NFeats = g.EmbedDim
	} else {
		c.D.InChannel, c.D.OutChannel, c.D.Group = 4*g.EmbedDim, 4*g.EmbedDim, g.Group
	}
	return c
}

// agrees checks the configuration, and that net_le is the encoder that it takes it for.
func (c Config) agrees(le EncoderConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if want := c.StageOne(); le != want {
		return fmt.Errorf("network_le is %+v: it must be %+v, which differs from network_le_dm in in_chans and stage alone", le, want)
	}
	return nil
}
