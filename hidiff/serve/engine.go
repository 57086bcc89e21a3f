package serve

import (
	"context"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// Engine restores photos: a [hidiff.Model].
type Engine interface {
	Plan(ctx context.Context, width, height int, o hidiff.RestoreOptions) (hidiff.Plan, error)
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

func (m *Model) plan(ctx context.Context, width, height int, o hidiff.RestoreOptions) (planInfo, error) {
	p, err := m.Engine.Plan(ctx, width, height, o)
	return newPlanInfo(p), err
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
