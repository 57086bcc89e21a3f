package trainer

import (
	"encoding/json"
	"io"
	"math"
	"time"
)

// jsonLines writes objects, one a line.
type jsonLines struct{ w io.Writer }

func (l *jsonLines) write(v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = l.w.Write(append(line, '\n')) // one write: lines stay whole
	}
	return err
}

// jsonNumber is a float64, and null where JSON has no word for its value.
type jsonNumber float64

func (n jsonNumber) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

type iterObject struct {
	Event           string                `json:"event"` // "iter"
	Iter            int                   `json:"iter"`
	Epoch           int                   `json:"epoch"`
	LR              jsonNumber            `json:"lr"`
	Losses          map[string]jsonNumber `json:"losses"`
	GradNorm        jsonNumber            `json:"grad_norm"`
	ImagesPerSecond jsonNumber            `json:"images_per_second"`
	ETASeconds      jsonNumber            `json:"eta_seconds"`
	Time            jsonNumber            `json:"time"`
	DataTime        jsonNumber            `json:"data_time"`
	GPUBytes        int64                 `json:"gpu_bytes"`
}

func newIterObject(r iterReport, eta time.Duration) iterObject {
	return iterObject{
		"iter", r.Iter, r.Epoch, jsonNumber(r.LR), jsonNumbers(r.Losses), jsonNumber(r.GradNorm), jsonNumber(r.ImagesPerSecond),
		jsonNumber(eta.Seconds()), jsonNumber(r.Time), jsonNumber(r.DataTime), r.GPUBytes,
	}
}

type validationObject struct {
	Event   string                `json:"event"` // "validation"
	Iter    int                   `json:"iter"`
	Dataset string                `json:"dataset"`
	Note    string                `json:"note,omitempty"`
	Metrics map[string]jsonNumber `json:"metrics"`
	Best    map[string]bestObject `json:"best"`
}

type bestObject struct {
	Value jsonNumber `json:"value"`
	Iter  int        `json:"iter"`
}

func newValidationObject(r valReport) validationObject {
	o := validationObject{"validation", r.Iter, r.Dataset, r.Note, jsonNumbers(r.Metrics), map[string]bestObject{}}
	for i, b := range r.Best {
		o.Best[r.Metrics[i].Name] = bestObject{jsonNumber(b.Value), b.Iter}
	}
	return o
}

type savedObject struct {
	Event string `json:"event"` // "checkpoint"
	Iter  int    `json:"iter"`
	State string `json:"state"`
}

type doneObject struct {
	Event   string     `json:"event"` // "done"
	Iter    int        `json:"iter"`
	Seconds jsonNumber `json:"seconds"`
}

type warningObject struct {
	Event   string `json:"event"` // "warning"
	Message string `json:"message"`
}

func jsonNumbers(values []scalar) map[string]jsonNumber {
	out := map[string]jsonNumber{}
	for _, v := range values {
		out[v.Name] = jsonNumber(v.Value)
	}
	return out
}
