package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"hidiff/hidiff/options"
)

// decode fills the fields of f's kind from the file's metadata.
func (f *fixture) decode(metadata map[string]string) error {
	switch f.Kind {
	case kindOp:
		f.Op = metadata["op"]
		return decodeEntry(metadata, "attrs", &f.Attrs)
	case kindModule:
		f.Module, f.Options = metadata["module"], []byte(metadata["options"])
		if !json.Valid(f.Options) {
			return fmt.Errorf("metadata options are not JSON")
		}
	case kindNetwork, kindEndToEnd, kindTraining:
		return f.decodeNetworks(metadata)
	}
	return nil
}

func (f *fixture) decodeNetworks(metadata map[string]string) error {
	if err := decodeEntry(metadata, "config", &f.Config); err != nil {
		return err
	}
	if f.FillPrefix = metadata["fill_prefix"]; f.FillPrefix == "" {
		return fmt.Errorf("metadata has no fill_prefix")
	}
	switch f.Kind {
	case kindNetwork:
		if metadata["picks"] == "" {
			return nil
		}
		return decodeEntry(metadata, "picks", &f.Picks)
	case kindEndToEnd:
		var err error
		if f.OutputWeightScale, err = strconv.ParseFloat(metadata["output_weight_scale"], 64); err != nil {
			return fmt.Errorf("metadata output_weight_scale: %w", err)
		}
	case kindTraining:
		f.Train = options.TrainOptions{WarmupIter: -1, OptimTotal: options.OptimOptions{Eps: 1e-8}}
		if err := decodeOptions([]byte(metadata["train"]), &f.Train); err != nil {
			return fmt.Errorf("metadata train: %w", err)
		}
		if f.Train.UseGradClip {
			f.Train.ClipGradNorm = clipLimit
		}
		return decodeEntry(metadata, "trained", &f.Trained)
	}
	return nil
}

// decodeEntry decodes the JSON that metadata holds under key.
func decodeEntry(metadata map[string]string, key string, into any) error {
	text, ok := metadata[key]
	if !ok {
		return fmt.Errorf("metadata has no %s", key)
	}
	if err := decodeStrictly([]byte(text), into); err != nil {
		return fmt.Errorf("metadata %s: %w", key, err)
	}
	return nil
}

// decodeOptions decodes JSON whose keys are those of option files, and refuses others.
func decodeOptions(data []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(data)) // JSON is YAML
	d.KnownFields(true)
	return d.Decode(into)
}

// decodeStrictly refuses keys that into has no field for.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
