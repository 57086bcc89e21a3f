package autograd

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"hidiff/internal/testgpu"
	"hidiff/tensor"

	"github.com/stretchr/testify/require"
)

func random(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	out := make([]float32, n)
	for i := range out {
		out[i] = r.Float32()*2 - 1
	}
	return out
}

func floats(t *testing.T, x *tensor.Tensor) []float32 {
	t.Helper()
	v, err := x.Floats(context.Background())
	require.NoError(t, err)
	return v
}

var l1 = tensor.Loss{Type: tensor.L1Loss, Weight: 1}

// perceptron is x + w2·gelu(w1·x), with the residual taken from the middle of the graph too.
type perceptron struct {
	params *tensor.Parameters
	maps   [2]*tensor.Linear
}

func newPerceptron(d *tensor.Device, frozen bool) *perceptron {
	p := &perceptron{params: tensor.NewParameters(d, []tensor.ParameterSpec{
		{Name: "w1", Shape: []int{5, 3}, Values: random(1, 15)}, {Name: "w2", Shape: []int{3, 5}, Values: random(2, 15)},
	})}
	all := p.params.All()
	if frozen {
		all = []*tensor.Parameter{{Tensor: all[0].Tensor}, {Tensor: all[1].Tensor}}
	}
	p.maps[0] = tensor.NewLinear(d, tensor.LinearSpec{Out: 5, In: 3, Weight: all[0]})
	p.maps[1] = tensor.NewLinear(d, tensor.LinearSpec{Out: 3, In: 5, Weight: all[1]})
	return p
}

// forward consumes x.
func (p *perceptron) forward(x *Variable) *Variable {
	h := Linear(p.maps[0], x, After{Act: tensor.GELU})
	y := Linear(p.maps[1], h, After{Residual: x})
	h.Release()
	x.Release()
	return y
}

func (p *perceptron) release() {
	p.maps[0].Release()
	p.maps[1].Release()
	p.params.Release()
}

// step runs forward and backward through two blocks, and returns the gradients of the parameters
// and of the input.
func (p *perceptron) step(t *testing.T, d *tensor.Device, tape *Tape, times int) (parameters, input []float32) {
	x, want := tensor.From(d, random(3, 12), 4, 3), tensor.From(d, random(4, 12), 4, 3)
	defer x.Release()
	defer want.Release()
	for range times {
		leaf := tape.Leaf(x)
		y := leaf.Keep()
		for range 2 {
			y = Checkpoint(func(in ...*Variable) *Variable { return p.forward(in[0]) }, y)
		}
		loss := Loss(l1, y, tape.Input(want))
		y.Release()
		tape.Backward(1, loss)
		loss.Release()
		g := leaf.Grad()
		input = floats(t, g)
		g.Release()
	}
	return floats(t, p.params.Grads), input
}

// Computing blocks again changes no bit, saves memory, and leaves nothing behind.
func TestCheckpointChangesNothing(t *testing.T) {
	d := testgpu.Open(t)
	p := newPerceptron(d, false)
	defer p.release()
	want, wantInput := p.step(t, d, &Tape{}, 1)
	p.params.ZeroGrad()
	got, gotInput := p.step(t, d, &Tape{Checkpointing: true}, 1)
	require.Equal(t, want, got)
	require.Equal(t, wantInput, gotInput)
	live := d.Stats().Live
	for _, detect := range []bool{false, true} {
		p.params.ZeroGrad()
		got, gotInput = p.step(t, d, &Tape{Checkpointing: true, DetectAnomaly: detect}, 1)
		require.Equal(t, want, got)
		require.Equal(t, wantInput, gotInput)
		require.Equal(t, live, d.Stats().Live)
	}
}

// Gradients add up until they are cleared.
func TestGradientsAccumulate(t *testing.T) {
	d := testgpu.Open(t)
	p := newPerceptron(d, false)
	defer p.release()
	once, _ := p.step(t, d, &Tape{}, 1)
	p.params.ZeroGrad()
	twice, _ := p.step(t, d, &Tape{}, 2)
	for i := range once {
		require.InDelta(t, 2*once[i], twice[i], 1e-6)
	}
	require.NotZero(t, once[0])
}

// The scale of Backward is that of all gradients.
func TestBackwardScales(t *testing.T) {
	d := testgpu.Open(t)
	gradient := func(scale float32) []float32 {
		tape := &Tape{}
		x := tape.Leaf(tensor.From(d, random(1, 8), 2, 4))
		tape.Backward(scale, Loss(tensor.Loss{Type: tensor.MSELoss, Weight: 1}, x, tape.Input(tensor.From(d, random(2, 8), 2, 4))), Mean(x))
		return floats(t, x.Grad())
	}
	whole, quarter := gradient(1), gradient(0.25)
	for i := range whole {
		require.NotZero(t, whole[i])
		require.Equal(t, whole[i]/4, quarter[i])
	}
}

// A variable that is used twice gets both gradients, also where the tape shares them.
func TestVariablesUsedTwice(t *testing.T) {
	d := testgpu.Open(t)
	tape := &Tape{}
	x := tape.Leaf(tensor.From(d, random(1, 8), 2, 4))
	sum := Add(x, x)
	both := Add(sum, Mul(sum, x)) // 2x + 2x², 2 + 4x
	tape.BackwardFrom(both, tensor.From(d, []float32{1, 1, 1, 1, 1, 1, 1, 1}, 2, 4))
	for i, v := range random(1, 8) {
		require.InDelta(t, 2+4*v, floats(t, x.slot.grad)[i], 1e-5)
	}
}

// Frozen networks, and whatever has no tape, are not recorded.
func TestFrozenNetworksCostNothing(t *testing.T) {
	d := testgpu.Open(t)
	p := newPerceptron(d, true)
	defer p.release()
	for _, tape := range []*Tape{{}, nil} {
		x := Constant(tensor.From(d, random(3, 12), 4, 3))
		if tape != nil {
			x.tape = tape
		}
		live := d.Stats().Live
		y := p.forward(x.Keep())
		require.False(t, y.needed())
		require.LessOrEqual(t, d.Stats().Live-live, int64(4*4*4+256), "nothing but the result stays")
		y.Release()
		require.Equal(t, live, d.Stats().Live)
		if tape != nil {
			require.Empty(t, tape.nodes)
		}
		x.Release()
	}
}

// The tracer names the first operator that makes a NaN, forward or backward.
func TestDetectAnomaly(t *testing.T) {
	d := testgpu.Open(t)
	p := newPerceptron(d, false)
	defer p.release()
	checkpointing := false
	forward := func(values []float32) (err error) {
		defer tensor.Catch(&err)
		tape := &Tape{DetectAnomaly: true, Checkpointing: checkpointing}
		defer tape.Reset()
		y := Checkpoint(func(in ...*Variable) *Variable { return p.forward(in[0]) }, tape.Input(tensor.From(d, values, 4, 3)))
		// The gradient of this loss is infinite where both sides are equal.
		loss := Loss(tensor.Loss{Type: tensor.CharbonnierLoss, Weight: 1}, y, tape.Input(y.Tensor.Clone()))
		tape.Backward(1, loss)
		return nil
	}
	for _, checkpointing = range []bool{false, true} {
		var anomaly *AnomalyError
		values := random(3, 12)
		require.ErrorAs(t, forward(values), &anomaly)
		require.True(t, anomaly.Backward)
		require.Equal(t, "loss", anomaly.Op)
		values[5] = float32(math.Inf(1))
		require.ErrorAs(t, forward(values), &anomaly)
		require.False(t, anomaly.Backward)
		require.Equal(t, "linear w1", anomaly.Op)
		require.ErrorContains(t, forward(values), "linear w1 computed")
	}
}
