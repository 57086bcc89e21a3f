package cli

import (
	"context"
	"errors"
	"fmt"

	"hidiff/internal/folder"
	"hidiff/wgpu"
)

// planLine is a line of --plan --json. Sizes are in bytes.
type planLine struct {
	Input      string `json:"input"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	Frames     int    `json:"frames,omitempty"` // of a video; what follows is of each
	Exact      bool   `json:"exact"`
	Bands      int    `json:"bands,omitempty"`
	Offload    bool   `json:"offload"`
	Peak       int64  `json:"peak_memory,omitempty"`
	Weights    int64  `json:"weights_memory,omitempty"`
	Budget     int64  `json:"memory_budget,omitempty"`
	Dispatches int64  `json:"dispatches,omitempty"`
	Error      string `json:"error,omitempty"`
}

// printPlans prints how each photo, and each frame of a video, would be restored.
func (a *app) printPlans(ctx context.Context, engine restorer, o *deblurOptions, jobs []*job, passedOver folder.Kinds) error {
	var failed error
	for _, j := range jobs {
		line := planLine{Input: j.input, Width: j.info.Width, Height: j.info.Height, Frames: j.frames()}
		err := j.err
		if err == nil {
			p, planErr := engine.Plan(ctx, j.info.Width, j.info.Height, o.restoring(j.name))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			line.Exact, line.Bands, line.Offload = p.Exact, p.Bands, p.Offload
			line.Peak, line.Weights, line.Budget, line.Dispatches = p.Peak, p.Weights, p.Budget, p.Dispatches
			if err = planErr; err != nil {
				err = fmt.Errorf("%s: %w", j.label(), inFlags(err))
			}
		}
		if err != nil {
			failed = errReported
			line.Error = err.Error()
		}
		switch {
		case o.JSON:
			if err := printJSON(a.stdout, line); err != nil {
				return err
			}
		case err != nil:
			fmt.Fprintf(a.stderr, "error: %v\n", err)
		default:
			fmt.Fprintln(a.stdout, line)
		}
	}
	if !o.JSON {
		printPassedOver(a.stderr, passedOver)
	} else if len(passedOver) > 0 {
		return errors.Join(failed, printJSON(a.stdout, planPassedOver{passedOver}))
	}
	return failed
}

// planPassedOver is the last line of --plan --json where a folder held pictures that are not read, or videos.
type planPassedOver struct {
	PassedOver folder.Kinds `json:"passed_over"`
}

func (l planLine) String() string {
	how, bands, where, budget, frames, each := "exact", "whole", "", "", "", ""
	if l.Frames > 0 {
		frames, each = fmt.Sprintf("%d frames of ", l.Frames), " a frame"
	}
	if !l.Exact {
		how = "in tiles, inexact"
	}
	if l.Bands > 1 {
		bands = fmt.Sprintf("in up to %d bands", l.Bands)
	}
	if l.Offload {
		where = ", feature maps in host memory"
	}
	if l.Budget > 0 {
		budget = " of " + wgpu.FormatBytes(l.Budget)
	}
	return fmt.Sprintf("%s: %s%d×%d, %s, %s%s; GPU memory: %s%s at most, %s of it weights; %d dispatches%s",
		l.Input, frames, l.Width, l.Height, how, bands, where, wgpu.FormatBytes(l.Peak), budget, wgpu.FormatBytes(l.Weights), l.Dispatches, each)
}
