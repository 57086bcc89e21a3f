package tensor

import (
	"fmt"
	"testing"

	"hidiff/internal/ref"

	"github.com/stretchr/testify/require"
)

// swapped exchanges the last two axes of [N, P, Q].
func swapped(a *ref.Array) *ref.Array {
	n, p, q := a.Shape[0], a.Shape[1], a.Shape[2]
	out := ref.New(n, q, p)
	for i, v := range a.Data {
		out.Data[(i/(p*q)*q+i%q)*p+i/q%p] = v
	}
	return out
}

func refTokenMix(x, w, b *ref.Array) *ref.Array { return swapped(ref.Linear(swapped(x), w, b)) }

func TestTokenMixBackward(t *testing.T) {
	d := openDevice(t)
	acts := map[actKind]func(*ref.Array) *ref.Array{
		actNone:  func(x *ref.Array) *ref.Array { return x },
		actGELU:  ref.GELU,
		actLeaky: func(x *ref.Array) *ref.Array { return ref.LeakyReLU(x, 0.1) },
	}
	for _, c := range []struct {
		n, l, m, c int
		act        Activation
		biased     bool
	}{
		{1, 1, 1, 1, Activation{}, true},
		{2, 16, 4, 20, Activation{}, true},
		{3, 4, 1, 63, Activation{}, true},
		{2, 3, 5, 5, GELU, false},
		{1, 16, 8, 65, GELU, true},
		{2, 5, 7, 3, LeakyReLU(0.1), true},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			in := ref.Params{"x": randomArray("x", c.n, c.l, c.c), "w": randomArray("w", c.m, c.l)}
			names := []string{"x", "w"}
			if c.biased {
				in["b"] = randomArray("b", c.m)
				names = append(names, "b")
			}
			g := randomArray("g", c.n, c.m, c.c)
			want := numericGradients(func(in ref.Params) *ref.Array {
				return acts[c.act.kind](refTokenMix(in["x"], in["w"], in["b"]))
			}, in, g, names...)
			x, w, b, dy := imageOf(d, in["x"]), trainable(d, in["w"]), trainable(d, in["b"]), imageOf(d, g)
			poisoned(d, x, dy)
			dx := TokenMixBackward(x, w, b, c.act, dy)
			requireGradient(t, "x", dx, want["x"], 1e-5)
			requireNoPadding(t, dx)
			requireGradient(t, "w", w.Grad, want["w"], 1e-5)
			if c.biased {
				requireGradient(t, "b", b.Grad, want["b"], 1e-5)
			}
			requireTwice(t, []*Parameter{w, b}, func() *Tensor { return TokenMixBackward(x, w, b, c.act, dy) }, dx)
		})
	}
}

func TestPatchMixerBackward(t *testing.T) {
	d := openDevice(t)
	for _, c := range []struct{ n, l, m, c int }{
		{1, 1, 1, 3}, {2, 16, 8, 20}, {1, 4, 2, 63}, {3, 3, 5, 5}, {1, 16, 8, 65},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			in := ref.Params{
				"x": randomArray("x", c.n, c.l, c.c), "gamma": randomArray("gamma", c.c), "beta": randomArray("beta", c.c),
				"w1": randomArray("w1", c.m, c.l), "b1": randomArray("b1", c.m), "w2": randomArray("w2", c.l, c.m), "b2": randomArray("b2", c.l),
			}
			names := []string{"x", "gamma", "beta", "w1", "b1", "w2", "b2"}
			g := randomArray("g", c.n, c.l, c.c)
			want := numericGradients(func(in ref.Params) *ref.Array {
				normal := ref.LayerNormLast(in["x"], in["gamma"], in["beta"], LayerNormEps)
				return ref.Add(in["x"], refTokenMix(ref.GELU(refTokenMix(normal, in["w1"], in["b1"])), in["w2"], in["b2"]))
			}, in, g, names...)
			x, dy := imageOf(d, in["x"]), imageOf(d, g)
			var p []*Parameter
			for _, name := range names[1:] {
				p = append(p, trainable(d, in[name]))
			}
			poisoned(d, x, dy)
			backward := func() *Tensor { return PatchMixerBackward(x, p[0], p[1], p[2], p[3], p[4], p[5], dy) }
			dx := backward()
			requireGradient(t, "x", dx, want["x"], 1e-5)
			requireNoPadding(t, dx)
			for i, name := range names[1:] {
				requireGradient(t, name, p[i].Grad, want[name], 1e-5)
			}
			requireTwice(t, p, backward, dx)
		})
	}
}

// requireTwice runs a backward pass a second time, which must give the same
// bits and add the same gradients again, and a third time without gradients.
func requireTwice(t *testing.T, parameters []*Parameter, backward func() *Tensor, first *Tensor) {
	t.Helper()
	var trained []*Parameter
	var once [][]float32
	for _, p := range parameters {
		if p != nil {
			trained = append(trained, p)
			once = append(once, stored(t, p.Grad))
		}
	}
	require.Equal(t, stored(t, first), stored(t, backward()), "the same bits")
	for i, p := range trained {
		for j, v := range stored(t, p.Grad) {
			require.Equal(t, 2*once[i][j], v, "gradients add up")
		}
		p.Grad = nil
	}
	require.Equal(t, stored(t, first), stored(t, backward()), "frozen")
}

func requireNoPadding(t *testing.T, x *Tensor) {
	t.Helper()
	each, padded := x.Channels()/x.parts, x.width()/x.parts
	for i, v := range stored(t, x) {
		if i%padded >= each {
			require.Zero(t, v, "padding at %d", i)
		}
	}
}
