package hidiff

import (
	"context"
	"errors"
	"fmt"

	"hidiff/hidiff/photo"
	"hidiff/tensor"
)

// multiple is what the Transformer's three halvings need height and width to
// be a multiple of.
const multiple = 8

func roundUp(n int) int { return (n + multiple - 1) / multiple * multiple }

// restore runs the whole of HI-Diff on a photo and returns its new samples.
func restore(ctx context.Context, n *Networks, d *tensor.Device, p *photo.Photo, noise []float32, o RestoreOptions) ([]uint16, error) {
	run := func(p, target *photo.Photo) *tensor.Tensor {
		lq := upload(d, p)
		defer lq.Release()
		prior := n.prior(d, lq, target, noise, o.Prior)
		defer prior.Release()
		if o.Tile == 0 {
			return n.Transform(lq, prior)
		}
		return restoreTiles(ctx, n, d, p, prior, o)
	}
	if !o.Ensemble {
		y := run(p, o.Target)
		defer y.Release()
		return y.Pixels(ctx, p.Max, p.Width, p.Height, p.Channels)
	}
	y, err := ensemble(ctx, d, p, o.Target, run)
	if err != nil {
		return nil, err
	}
	defer y.Release()
	return y.Pixels(ctx, p.Max, p.Width, p.Height, p.Channels)
}

// ensemble averages run over the eight flips and turns of p, and of target,
// which may be nil.
func ensemble(ctx context.Context, d *tensor.Device, p, target *photo.Photo, run func(p, target *photo.Photo) *tensor.Tensor) (*tensor.Tensor, error) {
	sum := make([]float32, p.Width*p.Height*3)
	for _, o := range orientations {
		turned, other := p.Turn(o), target
		if target != nil {
			other = target.Turn(o)
		}
		out := run(turned, other)
		stride := 3 * out.Shape()[2]
		values, err := out.Floats(ctx)
		out.Release()
		if err != nil {
			return nil, err
		}
		width := 3 * turned.Width
		for y := range turned.Height { // what was padded goes
			copy(values[y*width:], values[y*stride:y*stride+width])
		}
		for i, v := range photo.Turn(values[:width*turned.Height], turned.Width, turned.Height, 3, photo.TurnBack(o)) {
			sum[i] += v / 8
		}
	}
	return tensor.From(d, sum, 1, p.Height, p.Width, 3), nil
}

// orientations are the flips and turns, in the order in which their results are added.
var orientations = [8]int{1, 2, 4, 3, 5, 8, 6, 7}

// restoreTiles restores overlapping tiles under one prior and blends them
// linearly across the overlap.
func restoreTiles(ctx context.Context, n *Networks, d *tensor.Device, p *photo.Photo, prior *tensor.Tensor, o RestoreOptions) *tensor.Tensor {
	overlap := o.TileOverlap
	if overlap == 0 {
		overlap = o.Tile / 8
	}
	sum := make([]float32, p.Width*p.Height*3)
	weight := make([]float32, p.Width*p.Height)
	for _, y0 := range tileStarts(p.Height, o.Tile, overlap) {
		for _, x0 := range tileStarts(p.Width, o.Tile, overlap) {
			w, h := min(o.Tile, p.Width-x0), min(o.Tile, p.Height-y0)
			lq := upload(d, p.Crop(x0, y0, w, h))
			out := n.Transform(lq, prior)
			lq.Release()
			values, err := out.Floats(ctx)
			out.Release()
			abortIf(err)
			for y := range h {
				for x := range w {
					a := ramp(x, w, x0 > 0, x0+w < p.Width, overlap) * ramp(y, h, y0 > 0, y0+h < p.Height, overlap)
					at := (y0+y)*p.Width + x0 + x
					weight[at] += a
					for c := range 3 {
						sum[at*3+c] += a * values[(y*roundUp(w)+x)*3+c]
					}
				}
			}
		}
	}
	for i := range weight {
		for c := range 3 {
			sum[i*3+c] /= weight[i]
		}
	}
	return tensor.From(d, sum, 1, p.Height, p.Width, 3)
}

// tileStarts covers size pixels with tiles that overlap; the last one is
// aligned to the far edge.
func tileStarts(size, tile, overlap int) []int {
	starts := []int{0}
	for starts[len(starts)-1]+tile < size {
		starts = append(starts, min(starts[len(starts)-1]+tile-overlap, size-tile))
	}
	return starts
}

// ramp is a tile's weight at position i of n: it rises over the overlap on
// sides where another tile continues.
func ramp(i, n int, before, after bool, overlap int) float32 {
	w := float32(1)
	if before && i < overlap {
		w = (float32(i) + 0.5) / float32(overlap)
	}
	if after && n-1-i < overlap {
		w = min(w, (float32(n-1-i)+0.5)/float32(overlap))
	}
	return w
}

// checkTarget says why a photo cannot be restored with that target, if so.
func (o *RestoreOptions) checkTarget(p *photo.Photo) error {
	t := o.Target
	switch {
	case t == nil && o.Prior == OraclePrior:
		return errors.New("an oracle prior sees the sharp photo, and none was given")
	case t != nil && (t.Width != p.Width || t.Height != p.Height):
		return fmt.Errorf("the sharp photo is %d×%d pixels and the blurry one %d×%d: they must be of one size", t.Width, t.Height, p.Width, p.Height)
	}
	return nil
}

// upload returns a photo as an image [1, H, W, 3], H and W rounded up to
// multiples of 8.
func upload(d *tensor.Device, p *photo.Photo) *tensor.Tensor {
	return tensor.FromPixels(d, p.Pix, p.Max, p.Width, p.Height, p.Channels, roundUp(p.Width), roundUp(p.Height))
}

// prior makes the prior [1, group², 4*embed_dim] of an image lq. target is nil
// but for [OraclePrior].
func (n *Networks) prior(d *tensor.Device, lq *tensor.Tensor, target *photo.Photo, noise []float32, kind Prior) *tensor.Tensor {
	g := n.Config.G
	shape := []int{1, g.Group * g.Group, 4 * g.EmbedDim}
	switch kind {
	case ZeroPrior:
		return tensor.From(d, make([]float32, len(noise)), shape...)
	case OraclePrior:
		gt := upload(d, target)
		defer gt.Release()
		return n.Oracle(lq, gt)
	}
	x := tensor.From(d, noise, shape...)
	defer x.Release()
	c := n.Condition(lq)
	defer c.Release()
	return n.Sample(x, c)
}
