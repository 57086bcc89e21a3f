package serve

import (
	"context"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// Engine restores photos: a [hidiff.Model].
type Engine interface {
	Plan(width, height int, o hidiff.RestoreOptions) (hidiff.Plan, error)
	Restore(ctx context.Context, p *photo.Photo, o hidiff.RestoreOptions) (*photo.Photo, error)
}

// Model is a model that clients may choose by name.
type Model struct {
	Name        string
	Description string
	License     string
	Hash        string // [hidiff.Weights.Hash]
	Parameters  int
	Engine      Engine
}

// model is a Model whose plans are asked for one at a time: an engine makes none while it restores, and those
// who wait for one may go away.
type model struct {
	Model
	planning chan struct{} // holds one value while a plan is made
}

func newModel(m Model) *model { return &model{m, make(chan struct{}, 1)} }

func (m *model) plan(ctx context.Context, width, height int, o hidiff.RestoreOptions) (planInfo, error) {
	select {
	case m.planning <- struct{}{}:
	case <-ctx.Done():
		return planInfo{}, ctx.Err()
	}
	type answer struct {
		plan hidiff.Plan
		err  error
	}
	made := make(chan answer, 1)
	go func() {
		defer func() { <-m.planning }()
		p, err := m.Engine.Plan(width, height, o)
		made <- answer{p, err}
	}()
	select {
	case a := <-made:
		return newPlanInfo(a.plan), a.err
	case <-ctx.Done():
		return planInfo{}, ctx.Err()
	}
}

// planInfo is a plan in JSON, in the words of deblur --plan --json. Sizes are in bytes.
type planInfo struct {
	Width      int   `json:"width"`
	Height     int   `json:"height"`
	Exact      bool  `json:"exact"`
	Bands      int   `json:"bands"`
	Offload    bool  `json:"offload"`
	Peak       int64 `json:"peak_memory"`
	Weights    int64 `json:"weights_memory"`
	Budget     int64 `json:"memory_budget"` // 0 is none
	Dispatches int64 `json:"dispatches"`
}

func newPlanInfo(p hidiff.Plan) planInfo {
	return planInfo{p.Width, p.Height, p.Exact, p.Bands, p.Offload, p.Peak, p.Weights, p.Budget, p.Dispatches}
}
