package autograd_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"hidiff/autograd"
	"hidiff/internal/testgpu"
	"hidiff/tensor"
	"hidiff/wgpu"
)

func TestMain(m *testing.M) { testgpu.Main(m) }

// Fit a line by gradient descent.
func Example() {
	d, err := tensor.Open(wgpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	params := tensor.NewParameters(d, []tensor.ParameterSpec{
		{Name: "slope", Shape: []int{1, 1}, Values: []float32{0}},
		{Name: "offset", Shape: []int{1}, Values: []float32{0}},
	})
	defer params.Release()
	line := tensor.NewLinear(d, tensor.LinearSpec{Out: 1, In: 1, Weight: params.All()[0], Bias: params.All()[1]})
	defer line.Release()
	x := tensor.From(d, []float32{-1, 0, 1, 2}, 4, 1)
	y := tensor.From(d, []float32{-5, -2, 1, 4}, 4, 1) // 3x - 2
	m, v := params.Values.ZerosLike(), params.Values.ZerosLike()

	tape := &autograd.Tape{}
	for step := 1; step <= 300; step++ {
		predicted := autograd.Linear(line, tape.Input(x), autograd.After{})
		loss := autograd.Loss(tensor.Loss{Type: tensor.MSELoss, Weight: 1}, predicted, tape.Input(y))
		tape.Backward(1, loss)
		predicted.Release()
		loss.Release()
		tensor.AdamStep(params.Values, params.Grads, m, v, tensor.AdamOptions{LR: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Step: step})
		params.ZeroGrad()
		line.Repack()
	}
	for _, p := range params.All() {
		values, err := p.Floats(context.Background())
		fmt.Printf("%s %.1f %v\n", p.Name, values, err)
	}
	// Output:
	// slope [3.0] <nil>
	// offset [-2.0] <nil>
}
