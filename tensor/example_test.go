package tensor_test

import (
	"context"
	"fmt"

	"hidiff/tensor"
	"hidiff/wgpu"
)

func Example() {
	d, err := tensor.Open(wgpu.Options{})
	if err != nil {
		fmt.Println(err) // no GPU, and no software one
		return
	}
	defer d.Close()
	x := tensor.From(d, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
	defer x.Release()
	y := tensor.Transpose(x)
	defer y.Release()
	values, err := y.Floats(context.Background())
	fmt.Println(y.Shape(), values, err)
}
