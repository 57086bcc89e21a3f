package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hidiff/hidiff"
	"hidiff/trainer"
)

// .pth files do not say how many steps the diffusion has, nor their betas: the option file
// of their training does.

// configure sets the configuration of weights to that of a stage-two option file, for which file
// stands in messages. It fails where that describes other networks.
func configure(w *hidiff.Weights, o *trainer.Options, file string) error {
	if o.ModelType == trainer.HIDiffS1 {
		return fmt.Errorf("%s is of stage one, which has no diffusion: name that of stage two", file)
	}
	_, c, err := trainingConfig(o)
	if err != nil {
		return err
	}
	if err := describes(c, file, w, hidiff.SampledPrior.Networks()); err != nil {
		return err
	}
	w.Config = c
	return nil
}

// describes fails where the configuration of an option file is not that of the weights.
func describes(c hidiff.Config, file string, w *hidiff.Weights, nets []hidiff.Network) error {
	for _, net := range nets {
		if err := hidiff.Check(c.Parameters(net), w.Nets[net]); err != nil {
			return fmt.Errorf("%s describes another %s than %s is: %w", file, net, w.Sources[net], err)
		}
	}
	return nil
}

// configureTrained configures weights from an experiment's folder by the option file that hidiff train
// keeps there, beside the folder of models.
func configureTrained(w *hidiff.Weights) error {
	source, err := filepath.Abs(w.Sources[hidiff.NetD])
	if err != nil || w.Nets[hidiff.NetD] == nil || w.Nets[hidiff.NetLEDM] == nil || strings.HasSuffix(source, ".safetensors") {
		return err
	}
	models := filepath.Dir(source)
	experiment := filepath.Dir(models)
	file := filepath.Join(experiment, filepath.Base(experiment)+".yml")
	if _, err := os.Stat(file); err != nil || filepath.Base(models) != "models" {
		return nil
	}
	o, err := trainer.Load(file, nil)
	if err != nil {
		return err
	}
	return configure(w, o, file)
}
