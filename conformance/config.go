package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// The structs below mirror the JSON in the fixtures' metadata, key by key; keys are
// those of the released option files.

// trainOptions are the part of an option file's train section that decides a step.
type trainOptions struct {
	UseGradClip  bool             `json:"use_grad_clip"`
	OptimTotal   optimOptions     `json:"optim_total"`
	Scheduler    schedulerOptions `json:"scheduler"`
	TotalIter    int              `json:"total_iter"`
	WarmupIter   int              `json:"warmup_iter"`
	PixelOpt     lossOptions      `json:"pixel_opt"`
	PixelDiffOpt lossOptions      `json:"pixel_diff_opt"`
}

// optimOptions describe the optimizer: Adam or AdamW.
type optimOptions struct {
	Type        string     `json:"type"`
	LR          float64    `json:"lr"`
	WeightDecay float64    `json:"weight_decay"`
	Betas       [2]float64 `json:"betas"`
}

// schedulerOptions describe the learning rate's schedule; each type has some of them.
type schedulerOptions struct {
	Type           string    `json:"type"`
	Periods        []int     `json:"periods"`
	RestartWeights []float64 `json:"restart_weights"`
	EtaMin         float64   `json:"eta_min"`
	EtaMins        []float64 `json:"eta_mins"`
	Milestones     []int     `json:"milestones"`
	Gamma          float64   `json:"gamma"`
	Restarts       []int     `json:"restarts"`
	TotalIter      int       `json:"total_iter"`
}

// lossOptions describe one loss. Eps is CharbonnierLoss's.
type lossOptions struct {
	Type       string  `json:"type"`
	LossWeight float64 `json:"loss_weight"`
	Reduction  string  `json:"reduction"`
	Eps        float64 `json:"eps"`
}

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
		if err := decodeEntry(metadata, "train", &f.Train); err != nil {
			return err
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

// decodeStrictly refuses keys that into has no field for.
func decodeStrictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}
