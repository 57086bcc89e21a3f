package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
	"hidiff/hidiff/training"
)

// loadWeights takes the weights that -m names, or the option file, or the default.
func (e *evaluation) loadWeights(ctx context.Context) (*hidiff.Weights, error) {
	paths, load := e.Weights, hidiff.LoadOptions{ParamKey: e.ParamKey, Prior: e.Prior}
	if len(paths) == 0 && e.options != nil {
		var err error
		if paths, load.ParamKey, err = e.pretrained(); err != nil {
			return nil, err
		}
	}
	w, err := loadModel(ctx, load, paths)
	if err != nil {
		return nil, err
	}
	if err := e.configure(w); err != nil {
		return nil, err
	}
	e.result.Restoring = map[string]string{
		"weights": w.Hash(e.Prior.Networks()...), "prior": string(e.Prior), "self-ensemble": yes(e.Ensemble),
	}
	if e.sampled() {
		diffusion, err := json.Marshal(w.Config.Diffusion)
		if err != nil {
			return nil, err
		}
		e.result.Restoring["diffusion_schedule"], e.result.Restoring["seed"] = string(diffusion), fmt.Sprint(e.Seed)
	}
	e.result.Weights = map[string]string{}
	for net, source := range w.Sources {
		e.result.Weights[string(net)] = source
	}
	e.result.Trained = trainedOn(w.Config)
	return w, nil
}

// trainedOn is what the released weights of that configuration learnt from.
func trainedOn(c hidiff.Config) string {
	switch c {
	case hidiff.GoPro():
		return "GoPro"
	case hidiff.RealBlur():
		return "RealBlur"
	}
	return ""
}

// pretrained finds the networks that the option file names, if it names any.
func (e *evaluation) pretrained() (paths []string, paramKey string, err error) {
	if e.options.ModelType == options.HIDiffS1 && e.sampled() {
		return nil, "", fmt.Errorf("%s is of stage one, which sees the sharp photos: evaluate stage two, or --prior oracle", e.Options)
	}
	keys := map[string]bool{}
	var missing []string
	for _, net := range e.Prior.Networks() {
		from, err := training.FindPretrained(e.options, net)
		if err != nil {
			return nil, "", fmt.Errorf("%w; or name the weights with -m", err)
		}
		if from.File == "" {
			missing = append(missing, from.Option)
			continue
		}
		if from.Note != "" {
			fmt.Fprintf(e.stderr, "note: %s\n", from.Note)
		}
		paths, keys[from.ParamKey] = append(paths, from.File), true
	}
	switch {
	case len(paths) == 0:
		return nil, "", nil
	case missing != nil:
		needs := "deblurring needs all three networks"
		if !e.sampled() {
			needs = fmt.Sprintf("--prior %s needs %d networks", e.Prior, len(e.Prior.Networks()))
		}
		return nil, "", fmt.Errorf("%s lacks %s: %s; or name the weights with -m", e.Options, strings.Join(missing, ", "), needs)
	case len(keys) > 1 && e.ParamKey == "":
		return nil, "", fmt.Errorf("%s names different param_keys for the networks (%s): make them equal, choose with --param-key, or name the weights with -m",
			e.Options, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
	case e.ParamKey != "":
		paramKey = e.ParamKey
	case !keys["params"]:
		paramKey = slices.Collect(maps.Keys(keys))[0]
	}
	return paths, paramKey, nil
}

// configure has the option file say what weights cannot: the diffusion's schedule.
func (e *evaluation) configure(w *hidiff.Weights) error {
	if e.options == nil || e.options.ModelType == options.HIDiffS1 && e.sampled() {
		return nil
	}
	expected := w.Config.Diffusion
	err := w.Configure(e.options)
	switch other := (*hidiff.OtherNetworksError)(nil); {
	case errors.As(err, &other) && len(e.Weights) > 0:
		fmt.Fprintf(e.stderr, "note: %s describes other networks than -m gives: these go by their own configuration\n", e.Options)
		return nil
	case err == nil && e.sampled() && w.Config.Diffusion != expected:
		fmt.Fprintf(e.stderr, "note: the diffusion_schedule is that of %s, not that which the weights let expect\n", e.Options)
	}
	return err
}
