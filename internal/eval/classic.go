package eval

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// Method is a classical way to sharpen, to compare a network with. Methods work on samples as they are stored, with their gamma.
type Method string

// The methods.
const (
	// Unsharp is the unsharp mask: p + amount·(p − G p), where G blurs by a Gaussian.
	Unsharp Method = "unsharp"
	// RichardsonLucy assumes that a Gaussian G blurred the photo p, and iterates e ← e · Gᵀ(p / G e) from e = p on.
	// Source: W. H. Richardson, "Bayesian-Based Iterative Method of Image Restoration", JOSA 62 (1972); L. B. Lucy, "An iterative
	// technique for the rectification of observed distributions", The Astronomical Journal 79 (1974).
	RichardsonLucy Method = "richardson-lucy"
)

// Methods are all there are.
var Methods = []Method{Unsharp, RichardsonLucy}

// NewMethod returns a method by its name.
func NewMethod(name string) (Method, error) {
	if !slices.Contains(Methods, Method(name)) {
		return "", fmt.Errorf("%s is no classical method: it must be unsharp or richardson-lucy", name)
	}
	return Method(name), nil
}

// Baseline is a method with its parameters.
type Baseline struct {
	Method   Method  `json:"method"`
	Sigma    float64 `json:"sigma"`    // of the Gaussian, in pixels
	Strength float64 `json:"strength"` // the amount of Unsharp, the iterations of RichardsonLucy; 0 changes nothing
}

// String is such as "unsharp, sigma 1, amount 0.5".
func (b Baseline) String() string {
	what := "amount"
	if b.Method == RichardsonLucy {
		what = "iterations"
	}
	return fmt.Sprintf("%s, sigma %g, %s %g", b.Method, b.Sigma, what, b.Strength)
}

// Apply returns the photo that b makes of p.
func (b Baseline) Apply(p *photo.Photo) *photo.Photo {
	return b.Method.variants(p, b.Sigma, []float64{b.Strength})[0]
}

// grid is what parameters are chosen from.
type grid struct{ sigmas, strengths []float64 } // strengths rise

var grids = map[Method]grid{
	Unsharp:        {[]float64{0.5, 1, 2, 4}, []float64{0, 0.25, 0.5, 1, 2, 4}},
	RichardsonLucy: {[]float64{0.5, 1, 1.5, 2, 3}, []float64{0, 1, 3, 10, 30}},
}

// most is the PSNR, in dB, that equal photos are taken to have: with infinity, one of them would decide alone.
const most = 100

// Choose sets d.Baselines. A method's parameters are those of a small grid whose mean PSNR (BasicSR's, of RGB) over the pairs of this
// very dataset is the highest:
//
//   - [Unsharp]: sigma 0.5, 1, 2, 4; amount 0, 0.25, 0.5, 1, 2, 4;
//   - [RichardsonLucy]: sigma 0.5, 1, 1.5, 2, 3; iterations 0, 1, 3, 10, 30.
//
// Nobody who does not have the sharp photos could choose so well: the baselines' scores are upper bounds of what the grid can
// reach, so that a network which beats them does so fairly. Of larger photos only the middle 256×256 pixels are tried, which
// keeps the cost at a second or two for each pair. Pairs that cannot be read are left out. progress is called after every pair.
func (d *Dataset) Choose(ctx context.Context, s Source, methods []Method, progress func(done, of int)) error {
	d.Baselines = nil
	var candidates []Baseline
	for _, m := range methods {
		for _, sigma := range grids[m].sigmas {
			for _, strength := range grids[m].strengths {
				candidates = append(candidates, Baseline{m, sigma, strength})
			}
		}
	}
	pairs := make([]int, s.Len())
	for i := range pairs {
		pairs[i] = i
	}
	var counting sync.Mutex
	done := 0
	scores, err := inParallel(ctx, pairs, func(i int) ([]float64, error) {
		psnr := tryAll(ctx, s, i, methods)
		counting.Lock()
		defer counting.Unlock()
		done++
		progress(done, len(pairs))
		return psnr, nil
	})
	if err != nil {
		return err
	}
	sums := make([]float64, len(candidates))
	for _, psnr := range scores {
		for k, v := range psnr {
			sums[k] += v
		}
	}
	for _, m := range methods {
		best := -1
		for k, b := range candidates {
			if b.Method == m && (best < 0 || sums[k] > sums[best]) {
				best = k
			}
		}
		d.Baselines = append(d.Baselines, candidates[best])
	}
	return nil
}

// tryAll returns the PSNR of one pair for every point of the methods' grids, nothing where it cannot be used.
func tryAll(ctx context.Context, s Source, i int, methods []Method) (out []float64) {
	pair, err := open(s, i)
	if err != nil || pair.Input == nil {
		return nil
	}
	input, target := middle(pair.Input), eightBits(middle(pair.Target))
	for _, m := range methods {
		for _, sigma := range grids[m].sigmas {
			if ctx.Err() != nil {
				return nil
			}
			for _, p := range m.variants(input, sigma, grids[m].strengths) {
				psnr, err := metrics.PSNR(*eightBits(p), *target, metrics.Options{})
				if err != nil {
					return nil
				}
				out = append(out, min(psnr, most))
			}
		}
	}
	return out
}

// middle cuts the middle out of a large photo.
func middle(p *photo.Photo) *photo.Photo {
	const size = 256
	w, h := min(p.Width, size), min(p.Height, size)
	return p.Crop((p.Width-w)/2, (p.Height-h)/2, w, h)
}

// variants returns what a method makes of a photo with one sigma and each of the rising strengths.
func (m Method) variants(p *photo.Photo, sigma float64, strengths []float64) []*photo.Photo {
	out := make([]*photo.Photo, len(strengths))
	for i := range out {
		q := *p
		q.Pix = make([]uint16, len(p.Pix))
		out[i] = &q
	}
	g := newGaussian(sigma, p.Width, p.Height)
	white := float32(p.Max)
	values := make([]float32, p.Width*p.Height)
	for c := range p.Channels {
		for k := range values {
			values[k] = float32(p.Pix[k*p.Channels+c]) / white
		}
		use := func(i int, values []float32) {
			for k, v := range values {
				out[i].Pix[k*p.Channels+c] = uint16(min(max(v, 0), 1)*white + 0.5)
			}
		}
		if m == Unsharp {
			g.sharpen(values, strengths, use)
		} else {
			g.deconvolve(values, strengths, use)
		}
	}
	return out
}

// gaussian blurs planes of one size by a Gaussian, cut off at three standard deviations. Beyond the borders a plane goes on as
// its mirror image, edge included: thus G is a symmetric matrix, its own transpose.
type gaussian struct {
	width, height int
	weights       []float32 // by distance
	row           []float32 // with its mirror images
	half          []float32 // a plane blurred along rows
}

func newGaussian(sigma float64, width, height int) *gaussian {
	radius := int(math.Ceil(3 * sigma))
	g := &gaussian{width: width, height: height, row: make([]float32, width+2*radius), half: make([]float32, width*height)}
	total, weights := 0.0, make([]float64, radius+1)
	for i := range weights {
		weights[i] = math.Exp(-float64(i*i) / (2 * sigma * sigma))
		total += weights[i]
		if i > 0 {
			total += weights[i]
		}
	}
	for _, w := range weights {
		g.weights = append(g.weights, float32(w/total))
	}
	return g
}

// mirrored is the place in 0…n-1 that stands for i: …1 0 | 0 1 … n-1 | n-1 n-2…
func mirrored(i, n int) int {
	i %= 2 * n
	if i < 0 {
		i += 2 * n
	}
	return min(i, 2*n-1-i)
}

// blur sets dst to src blurred; they may be one.
func (g *gaussian) blur(dst, src []float32) {
	radius, w := len(g.weights)-1, g.width
	for y := range g.height {
		line := src[y*w:][:w]
		copy(g.row[radius:], line)
		for i := range radius {
			g.row[i], g.row[radius+w+i] = line[mirrored(i-radius, w)], line[mirrored(w+i, w)]
		}
		out := g.half[y*w:][:w]
		for x := range out {
			near := g.row[x : x+2*radius+1]
			sum := g.weights[0] * near[radius]
			for i := 1; i <= radius; i++ {
				sum += g.weights[i] * (near[radius-i] + near[radius+i])
			}
			out[x] = sum
		}
	}
	for y := range g.height {
		out := dst[y*w:][:w]
		for x, v := range g.half[y*w:][:w] {
			out[x] = g.weights[0] * v
		}
		for i := 1; i <= radius; i++ {
			weight := g.weights[i]
			above, below := g.half[mirrored(y-i, g.height)*w:][:w], g.half[mirrored(y+i, g.height)*w:][:w]
			for x := range out {
				out[x] += weight * (above[x] + below[x])
			}
		}
	}
}

// sharpen calls use with the unsharp mask of every amount.
func (g *gaussian) sharpen(p []float32, amounts []float64, use func(i int, values []float32)) {
	soft, out := make([]float32, len(p)), make([]float32, len(p))
	g.blur(soft, p)
	for i, amount := range amounts {
		for k, v := range p {
			out[k] = v + float32(amount)*(v-soft[k])
		}
		use(i, out)
	}
}

// deconvolve calls use with Richardson and Lucy's estimates after each of the rising numbers of iterations.
func (g *gaussian) deconvolve(p []float32, iterations []float64, use func(i int, values []float32)) {
	const least = 1e-6 // an estimate of zero stays zero, whatever it is divided by
	estimate, ratio := slices.Clone(p), make([]float32, len(p))
	done := 0
	for i, n := range iterations {
		for ; done < int(n); done++ {
			g.blur(ratio, estimate)
			for k, v := range p {
				ratio[k] = v / max(ratio[k], least)
			}
			g.blur(ratio, ratio)
			for k, v := range ratio {
				estimate[k] *= v
			}
		}
		use(i, estimate)
	}
}

// column is a method's name in the columns of scores.csv.
func (m Method) column() string { return strings.ReplaceAll(string(m), "-", "_") }
