package tensor

import (
	"context"
	"fmt"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// prologueCase is a LayerNorm, a modulation or both, of images times rows.
type prologueCase struct {
	norm         Norm
	modulated    bool
	images, rows int
	channels     int
}

// The modulation has rows of its own before the images', and k1 and k2 lie
// somewhere in them.
const (
	firstImage = 2
	scaleAt    = 3
)

func (c prologueCase) inputs() ref.Params {
	name := fmt.Sprintf("%+v", c)
	p := ref.Params{"x": randomArray("x"+name, c.images*c.rows, c.channels), "dy": randomArray("dy"+name, c.images*c.rows, c.channels)}
	if c.norm != NoNorm {
		p["gamma"] = randomArray("gamma"+name, c.channels)
	}
	if c.norm == WithBias {
		p["beta"] = randomArray("beta"+name, c.channels)
	}
	if c.modulated {
		p["modulation"] = randomArray("modulation"+name, firstImage+c.images, c.modulationWidth())
	}
	return p
}

func (c prologueCase) shiftAt() int         { return scaleAt + c.channels + 2 }
func (c prologueCase) modulationWidth() int { return c.shiftAt() + c.channels + 1 }

// at are the indices of k1 and k2 for value i of x.
func (c prologueCase) at(i int) (k1, k2 int) {
	row := (firstImage + i/(c.channels*c.rows)) * c.modulationWidth()
	return row + scaleAt + i%c.channels, row + c.shiftAt() + i%c.channels
}

func (c prologueCase) norms(p ref.Params) *ref.Array {
	switch x := p["x"]; c.norm {
	case WithBias:
		return ref.LayerNormLast(x, p["gamma"], p["beta"], LayerNormEps)
	case BiasFree:
		pixels := x.Reshape(x.Shape[0], x.Shape[1], 1, 1)
		return ref.LayerNormChannelBiasFree(pixels, p["gamma"], LayerNormEps).Reshape(x.Shape...)
	default:
		return x
	}
}

func (c prologueCase) forward(p ref.Params) *ref.Array {
	n := c.norms(p)
	y := ref.New(n.Shape...)
	copy(y.Data, n.Data)
	if c.modulated {
		for i := range y.Data {
			k1, k2 := c.at(i)
			y.Data[i] = y.Data[i]*p["modulation"].Data[k1] + p["modulation"].Data[k2]
		}
	}
	return y
}

// backward returns the gradients of all inputs under p["dy"].
func (c prologueCase) backward(p ref.Params) ref.Params {
	x, dy, out := p["x"], p["dy"], ref.Params{}
	dn := ref.New(dy.Shape...)
	copy(dn.Data, dy.Data)
	if c.modulated {
		m, n := ref.New(p["modulation"].Shape...), c.norms(p)
		for i, g := range dy.Data {
			k1, k2 := c.at(i)
			m.Data[k1] += g * n.Data[i]
			m.Data[k2] += g
			dn.Data[i] = g * p["modulation"].Data[k1]
		}
		out["modulation"] = m
	}
	switch c.norm {
	case WithBias:
		out["x"], out["gamma"], out["beta"] = ref.LayerNormLastBackward(x, p["gamma"], p["beta"], dn, LayerNormEps)
	case BiasFree:
		shape := []int{x.Shape[0], x.Shape[1], 1, 1}
		dx, dgamma := ref.LayerNormChannelBiasFreeBackward(x.Reshape(shape...), p["gamma"], dn.Reshape(shape...), LayerNormEps)
		out["x"], out["gamma"] = dx.Reshape(x.Shape...), dgamma
	default:
		out["x"] = dn
	}
	return out
}

func (c prologueCase) spec(d *Device, p ref.Params) LinearSpec {
	s := LinearSpec{
		In: c.channels, Norm: c.norm, Gamma: trainable(d, p["gamma"]), Beta: trainable(d, p["beta"]),
		ScaleAt: scaleAt, ShiftAt: c.shiftAt(),
	}
	if c.modulated {
		s.Modulation = imageOf(d, p["modulation"])
	}
	return s
}

var prologueCases = []prologueCase{
	{WithBias, false, 1, 1, 3},
	{WithBias, false, 1, 3, 257},
	{WithBias, false, 2, 65, 63},
	{WithBias, false, 1, 1000, 5},
	{WithBias, true, 1, 65, 127},
	{WithBias, true, 3, 7, 5},
	{BiasFree, false, 1, 3, 1},
	{BiasFree, false, 1, 65, 63},
	{BiasFree, false, 1, 1000, 127},
	{BiasFree, true, 2, 3, 257},
	{BiasFree, true, 5, 1, 3},
	{NoNorm, true, 1, 3, 1},
	{NoNorm, true, 3, 65, 63},
	{WithBias, true, 2, 20000, 6},
}

func TestPrologue(t *testing.T) {
	d := openDevice(t)
	for _, c := range prologueCases {
		name := fmt.Sprintf("%+v", c)
		p := c.inputs()
		s, x := c.spec(d, p), amidst(d, p["x"], 1, c.images, c.rows, c.channels)
		poisoned(d, x, New(d, c.images, c.channels))
		y := s.prologue(x, firstImage)
		require.Equal(t, x.Shape(), y.Shape())
		requireGradient(t, name, y, c.forward(p), 1e-6)
		for i, v := range stored(t, y) {
			require.False(t, i%y.width() >= c.channels && v != 0, "%s: padding at %d is %g", name, i, v)
		}
	}
	require.NoError(t, d.Err())
}

func TestPrologueBackward(t *testing.T) {
	d := openDevice(t)
	for i, c := range prologueCases {
		name := fmt.Sprintf("%+v", c)
		p := c.inputs()
		want := c.backward(p)
		if len(p["x"].Data) < 100 {
			for key, numeric := range numericGradients(c.forward, p, p["dy"], keys(want)...) {
				for i, v := range numeric.Data {
					require.InDelta(t, 0, v-want[key].Data[i], 1e-5, "the reference itself: %s of %s", key, name)
				}
			}
		}
		s := c.spec(d, p)
		x, dy := amidst(d, p["x"], 1, c.images, c.rows, c.channels), amidst(d, p["dy"], 1, c.images, c.rows, c.channels)
		var add, dmodulation *Tensor
		if i%2 == 0 {
			a := randomArray("add", p["x"].Shape...)
			add = amidst(d, a, 1, c.images, c.rows, c.channels)
			want["x"] = ref.Add(want["x"], a)
		}
		gradients := map[string]*Tensor{}
		if c.modulated {
			dmodulation = New(d, p["modulation"].Shape...)
			gradients["modulation"] = dmodulation
		}
		if s.Gamma != nil {
			gradients["gamma"] = s.Gamma.Grad
		}
		if s.Beta != nil {
			gradients["beta"] = s.Beta.Grad
		}
		before := ref.Params{}
		for key := range gradients {
			before[key] = randomArray("before "+key, want[key].Shape...)
			want[key] = ref.Add(before[key], want[key])
		}
		var first map[string][]float32
		for range 2 {
			for key, g := range gradients {
				set(g, before[key])
			}
			sets := 1
			if c.modulated {
				sets = c.images
			}
			sums, _ := normSums(x, sets)
			sums.Release()
			poisoned(d, x, sums.Tensor, New(d, sets, c.channels), New(d, sets, 2, c.channels))
			dx := s.prologueBackward(x, dy, add, dmodulation, firstImage)
			bits := map[string][]float32{"x": stored(t, dx)}
			requireGradient(t, "dx "+name, dx, want["x"], 1e-6)
			for i, v := range bits["x"] {
				require.False(t, i%dx.width() >= c.channels && v != 0, "%s: padding at %d is %g", name, i, v)
			}
			for key, g := range gradients {
				requireGradient(t, "d"+key+" "+name, g, want[key], 1e-6)
				bits[key] = stored(t, g)
			}
			if first != nil {
				require.Equal(t, first, bits, "other bits the second time: %s", name)
			}
			first = bits
			dx.Release()
		}
	}
	require.NoError(t, d.Err())
}

func keys(p ref.Params) (names []string) {
	for name := range p {
		names = append(names, name)
	}
	return names
}

// Where nothing is folded in, x and its gradient pass through.
func TestNoPrologue(t *testing.T) {
	d := openDevice(t)
	x, dn, add := From(d, random(6), 2, 3), From(d, []float32{1, 2, 3, 4, 5, 6}, 2, 3), From(d, []float32{6, 5, 4, 3, 2, 1}, 2, 3)
	var s LinearSpec
	y := s.prologue(x, 0)
	require.Same(t, x.mem, y.mem)
	y.Release()
	dx := s.prologueBackward(x, dn, nil, nil, 0)
	require.Same(t, dn.mem, dx.mem)
	dx.Release()
	values, err := s.prologueBackward(x, dn, add, nil, 0).Floats(context.Background())
	require.NoError(t, err)
	require.Equal(t, []float32{7, 7, 7, 7, 7, 7}, values)
	for _, x := range []*Tensor{x, dn, add} {
		require.Equal(t, 1, x.mem.users, "consumed")
	}
}

// A mean that is large beside the deviation costs no more than x's own rounding.
func TestLayerNormBackwardOfLargeMeans(t *testing.T) {
	d := openDevice(t)
	for _, kind := range []Norm{WithBias, BiasFree} {
		c := prologueCase{kind, false, 1, 65, 63}
		p := c.inputs()
		for i, v := range p["x"].Data {
			p["x"].Data[i] = float64(float32(v + 1000))
		}
		want := c.backward(p)
		gamma, beta := trainable(d, p["gamma"]), trainable(d, p["beta"])
		dx := LayerNormBackward(imageOf(d, p["x"]), imageOf(d, p["dy"]), kind, gamma, beta)
		requireGradient(t, "dx", dx, want["x"], 1e-5)
		requireGradient(t, "dgamma", gamma.Grad, want["gamma"], 1e-5)
	}
}

// In bands of an image in host memory, too.
func TestLayerNormBackwardOfImages(t *testing.T) {
	d := openDevice(t)
	x, dy, gamma, beta := randomArray("x", 2, 5, 9, 3), randomArray("dy", 2, 5, 9, 3), randomArray("gamma", 5), randomArray("beta", 5)
	dx, dgamma, dbeta := ref.LayerNormChannelBackward(x, gamma, beta, dy, LayerNormEps)
	for _, offload := range []bool{false, true} {
		d := d.With(Execution{Offload: offload, Scratch: 500})
		g, b := trainable(d, gamma), trainable(d, beta)
		requireGradient(t, "dx", LayerNormBackward(imageOf(d, x), imageOf(d, dy), WithBias, g, b), dx, 1e-6)
		requireGradient(t, "dgamma", g.Grad, dgamma, 1e-6)
		requireGradient(t, "dbeta", b.Grad, dbeta, 1e-6)
	}
}

func TestPrologueRefusesOtherShapes(t *testing.T) {
	d := openDevice(t)
	x, other := From(d, random(6), 2, 3), From(d, random(8), 2, 4)
	p := trainable(d, randomArray("gamma", 3))
	s := LinearSpec{In: 3, Norm: WithBias, Gamma: p, Beta: p}
	modulated := LinearSpec{In: 3, Modulation: From(d, random(12), 2, 6), ShiftAt: 3}
	for name, f := range map[string]func(){
		"x":           func() { s.prologue(other, 0) },
		"dy":          func() { s.prologueBackward(x, other, nil, nil, 0) },
		"add":         func() { s.prologueBackward(x, x, other, nil, 0) },
		"image":       func() { modulated.prologue(x, 1) },
		"dmodulation": func() { modulated.prologueBackward(x, x, nil, other, 0) },
		"gamma":       func() { LayerNormBackward(other, other, BiasFree, p, nil) },
		"other dy":    func() { LayerNormBackward(x, other, WithBias, p, p) },
		"no beta":     func() { LayerNormBackward(x, x, WithBias, p, nil) },
	} {
		var shape *ShapeError
		require.ErrorAs(t, catch(f), &shape, name)
	}
}
