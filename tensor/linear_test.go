package tensor

import (
	"context"
	"fmt"
	"math"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// linearVariants are the entry points of linear.wgsl, and of linear_rows.wgsl.
var linearVariants = []string{"", "rows", "few", "direct", "windowed", "tiled"}

// linearCase is a map of images times rows, and what is folded into it.
type linearCase struct {
	images, rows      int
	in, inParts       int
	out, outParts     int
	norm              Norm
	modulated, biased bool
	mean              float64 // added to x
}

func (c linearCase) inputs() ref.Params {
	name := fmt.Sprintf("%+v", c)
	p := ref.Params{
		"x":        randomArray("x"+name, c.images*c.rows, c.in),
		"w":        randomArray("w"+name, c.out, c.in),
		"residual": randomArray("residual"+name, c.images*c.rows, c.out),
	}
	for i, v := range p["x"].Data {
		p["x"].Data[i] = float64(float32(v + c.mean))
	}
	if c.biased {
		p["b"] = randomArray("b"+name, c.out)
	}
	if c.norm != NoNorm {
		p["gamma"] = randomArray("gamma"+name, c.in)
	}
	if c.norm == WithBias {
		p["beta"] = randomArray("beta"+name, c.in)
	}
	if c.modulated {
		p["modulation"] = randomArray("modulation"+name, c.images, 2*c.in)
	}
	return p
}

// product is the map alone.
func (c linearCase) product(p ref.Params) *ref.Array {
	norms := prologueCase{norm: c.norm}.norms(p)
	n := ref.New(norms.Shape...)
	copy(n.Data, norms.Data)
	if c.modulated {
		for i := range n.Data {
			m := p["modulation"].Data[i/(c.rows*c.in)*2*c.in:]
			n.Data[i] = n.Data[i]*m[i%c.in] + m[c.in+i%c.in]
		}
	}
	return ref.Linear(n, p["w"], p["b"])
}

func (c linearCase) pack(d *Device, p ref.Params) *Linear {
	s := LinearSpec{
		Out: c.out, OutParts: c.outParts, In: c.in, InParts: c.inParts,
		Weight: trainable(d, p["w"]), Bias: trainable(d, p["b"]),
		Norm: c.norm, Gamma: trainable(d, p["gamma"]), Beta: trainable(d, p["beta"]), ShiftAt: c.in,
	}
	if c.modulated {
		s.Modulation = imageOf(d, p["modulation"])
	}
	return NewLinear(d, s)
}

var linearCases = []linearCase{
	{images: 1, rows: 1, in: 1, inParts: 1, out: 1, outParts: 1},
	{images: 1, rows: 3, in: 5, inParts: 1, out: 63, outParts: 1, biased: true},
	{images: 1, rows: 5, in: 63, inParts: 1, out: 5, outParts: 1, norm: WithBias, biased: true, mean: 1000},
	{images: 3, rows: 21, in: 65, inParts: 1, out: 127, outParts: 1, norm: BiasFree, mean: -1000},
	{images: 1, rows: 127, in: 66, inParts: 3, out: 30, outParts: 6, biased: true},
	{images: 1, rows: 16, in: 512, inParts: 1, out: 129, outParts: 1, norm: WithBias},
	{images: 3, rows: 7, in: 5, inParts: 1, out: 33, outParts: 1, norm: WithBias, modulated: true, biased: true},
	{images: 2, rows: 65, in: 127, inParts: 1, out: 18, outParts: 2, norm: BiasFree, modulated: true},
	{images: 5, rows: 1, in: 3, inParts: 1, out: 65, outParts: 1, modulated: true},
	{images: 1, rows: 300, in: 17, inParts: 1, out: 20, outParts: 1, norm: WithBias},
}

// after is what may follow the product, and its reference.
type after struct {
	fused    Fused
	residual bool
	inPlace  bool
	want     func(v, r float64) float64
}

func leaky(v, slope float64) float64 { return math.Max(v, 0) + slope*math.Min(v, 0) }

var afters = map[string]after{
	"nothing":  {want: func(v, _ float64) float64 { return v }},
	"GELU":     {fused: Fused{Act: GELU}, want: func(v, _ float64) float64 { return v * (1 + math.Erf(v/math.Sqrt2)) / 2 }},
	"residual": {fused: Fused{Act: LeakyReLU(0.25)}, residual: true, want: func(v, r float64) float64 { return leaky(v, 0.25) + r }},
	"in place": {fused: Fused{Post: LeakyReLU(0.25)}, inPlace: true, want: func(v, r float64) float64 { return leaky(v+r, 0.25) }},
	"reverse": {fused: Fused{Act: LeakyReLU(0.25), Reverse: &Reverse{Coef1: 0.5, Coef2: 2}}, residual: true, want: func(v, r float64) float64 {
		return 0.5*leaky(v, 0.25) + 2*r
	}},
	"reverse of noise": {fused: Fused{Reverse: &Reverse{PredictsNoise: true, Recip: 1.5, Recipm1: 0.25, Coef1: 0.5, Coef2: 2}}, residual: true, want: func(v, r float64) float64 {
		return 0.5*math.Max(-1, math.Min(1, 1.5*r-0.25*v)) + 2*r
	}},
}

func TestLinearApply(t *testing.T) {
	d := openDevice(t)
	for _, c := range linearCases {
		p := c.inputs()
		product := c.product(p)
		x := amidst(d, p["x"], c.inParts, c.images, c.rows, c.in)
		for name, a := range afters {
			want := ref.New(product.Shape...)
			for i, v := range product.Data {
				want.Data[i] = a.want(v, p["residual"].Data[i])
			}
			for _, variant := range linearVariants {
				what := fmt.Sprintf("%s, %s: %+v", variant, name, c)
				d := d.With(Execution{Variant: variant})
				x, l := x.on(d), c.pack(d, p)
				var first []float32
				for range 2 {
					f := a.fused
					residual := amidst(d, p["residual"], c.outParts, c.images, c.rows, c.out)
					if a.residual || a.inPlace {
						f.Residual = residual
					}
					if a.inPlace {
						f.Into = residual
					}
					poisoned(d, residual)
					y := l.Apply(x, f)
					require.Equal(t, residual.Shape(), y.Shape(), what)
					bits := stored(t, y)
					if first == nil {
						requireGradient(t, what, y, want, 4e-6)
						requirePadding(t, y)
						requireNaNAround(t, what, residual)
						first = bits
					}
					require.Equal(t, first, bits, "other bits the second time: "+what)
					if !a.inPlace {
						y.Release()
					}
					residual.Release()
				}
				l.Release()
			}
		}
		x.Release()
	}
	require.NoError(t, d.Err())
}

// requireNaNAround looks at what amidst put on either side of x.
func requireNaNAround(t *testing.T, what string, x *Tensor) {
	t.Helper()
	for _, side := range []int64{-1, 1} {
		v := x.Share()
		v.offset += side * x.bytes()
		values, err := v.Floats(context.Background())
		require.NoError(t, err)
		for i, value := range values {
			require.True(t, math.IsNaN(float64(value)), "%s: written outside, %d of side %d", what, i, side)
		}
		v.Release()
	}
}

// Tokens go by their rows; images must not, or bands would change bits.
func TestLinearVariantChoice(t *testing.T) {
	d := openDevice(t)
	c := linearCase{images: 2, rows: 1, in: 5, inParts: 1, out: 3, outParts: 1}
	l := c.pack(d, c.inputs())
	chosen := func(images int, shape ...int) string { return d.linearVariant(l, New(d, shape...), images) }
	require.Equal(t, "few", chosen(1, fewRows, 5))
	require.Equal(t, "few", chosen(1, 2, fewRows/2, 5))
	require.Equal(t, "few", chosen(2, 2, fewRows, 5), "each image has weights of its own")
	many := chosen(1, 2, fewRows, 5)
	require.NotEqual(t, "few", many)
	require.Equal(t, many, chosen(1, fewRows+1, 5))
	require.Equal(t, many, chosen(1, 1, 1, 1, 5))
	for _, forced := range []string{"tiled", "few"} {
		d = d.With(Execution{Variant: forced})
		l = c.pack(d, c.inputs())
		require.Equal(t, forced, chosen(1, 1, 5))
		require.Equal(t, forced, chosen(1, 1, 1, 1, 5))
	}
}

// A stack's gradients of x add up, band by band, to the same bits as at once.
func TestLinearBackward(t *testing.T) {
	d := openDevice(t)
	const in, out, h, w = 5, 7, 9, 3
	for _, norm := range []Norm{NoNorm, WithBias, BiasFree} {
		c := linearCase{images: 2, rows: h * w, in: in, inParts: 1, out: out, outParts: 1, norm: norm, biased: true}
		p, other := c.inputs(), linearCase{images: 2, rows: h * w, in: in, out: 16}.inputs()
		dy := randomArray("dy", 2*h*w, 16+out)
		var parts [2]*ref.Array // gradients of the stack's two maps: the first is as wide as stored
		for i, span := range [][2]int{{0, 16}, {16, 16 + out}} {
			parts[i] = ref.New(2*h*w, span[1]-span[0])
			for r := range 2 * h * w {
				copy(parts[i].Data[r*parts[i].Shape[1]:], dy.Data[r*(16+out):][span[0]:span[1]])
			}
		}
		dx0, dw0, _ := ref.LinearBackward(p["x"], other["w"], nil, parts[0])
		dn, dw, db := ref.LinearBackward(prologueCase{norm: norm}.norms(p), p["w"], p["b"], parts[1])
		back := prologueCase{norm: norm, images: 2, rows: h * w, channels: in}.backward(ref.Params{
			"x": p["x"], "dy": dn, "gamma": p["gamma"], "beta": p["beta"],
		})
		want := ref.Add(dx0, back["x"])

		var whole []float32
		for _, mode := range []struct {
			scratch int64
			offload bool
		}{{0, false}, {3 * 4 * 8 * w * 4, false}, {1, false}, {1000, true}, {1, true}} {
			for _, wanted := range []bool{true, false} {
				what := fmt.Sprintf("norm %d, %+v, dx wanted: %v", norm, mode, wanted)
				first := LinearSpec{Out: 16, In: in, Weight: trainable(d, other["w"])}
				second := LinearSpec{
					Out: out, In: in, Weight: trainable(d, p["w"]), Bias: trainable(d, p["b"]),
					Norm: norm, Gamma: trainable(d, p["gamma"]), Beta: trainable(d, p["beta"]),
				}
				l, at := NewLinearStack(d, []LinearSpec{first, second})
				require.Equal(t, []int{0, 16}, at)
				d := d.With(Execution{Scratch: mode.scratch, Offload: mode.offload})
				x, g := newWhole(d, 1, 2, h, w, in), newParts(d, 1, 2, h, w, 32)
				put(t, x, p["x"])
				put(t, g, widened(dy, 32))
				poisoned(d, New(d, 2, h, w, in), New(d, 2, h, w, in))
				dx, dresidual := l.Backward(x, Fused{}, g, nil, wanted)
				require.Nil(t, dresidual)
				if mode.scratch == 1 {
					require.Equal(t, 2*h, d.MostBands(), what)
				}
				requireGradient(t, "dw of the first, "+what, first.Weight.Grad, dw0, 1e-6)
				requireGradient(t, "dw, "+what, second.Weight.Grad, dw, 2e-6)
				requireGradient(t, "db, "+what, second.Bias.Grad, db, 1e-6)
				for name, q := range map[string]*Parameter{"gamma": second.Gamma, "beta": second.Beta} {
					if q != nil {
						requireGradient(t, "d"+name+", "+what, q.Grad, back[name], 2e-6)
					}
				}
				if !wanted {
					require.Nil(t, dx)
					continue
				}
				requireGradient(t, "dx, "+what, dx, want, 2e-6)
				bits := stored(t, dx)
				if whole == nil {
					whole = bits
				}
				require.Equal(t, whole, bits, what)
				requirePadding(t, dx)
			}
		}
	}
	require.NoError(t, d.Err())
}

// put uploads rows into a whole image, wherever it lives.
func put(t *testing.T, x *Tensor, a *ref.Array) {
	t.Helper()
	rows := From(x.d, a.Float32(), a.Shape...)
	defer rows.Release()
	if x.mem.host != nil {
		copy(x.mem.host, stored(t, rows))
		return
	}
	x.d.Copy(x.mem.buffer, x.offset, rows.mem.buffer, 0, x.bytes())
}

// widened fills rows up with zeros.
func widened(a *ref.Array, width int) *ref.Array {
	out := ref.New(a.Shape[0], width)
	for r := range a.Shape[0] {
		copy(out.Data[r*width:(r+1)*width], a.Data[r*a.Shape[1]:(r+1)*a.Shape[1]])
	}
	return out
}
