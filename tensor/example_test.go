package tensor_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"hidiff/internal/testgpu"
	"hidiff/tensor"
	"hidiff/wgpu"
)

func TestMain(m *testing.M) { testgpu.Main(m) }

func Example() {
	d, err := tensor.Open(wgpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	x := tensor.From(d, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
	defer x.Release()
	y := tensor.Transpose(x)
	defer y.Release()
	values, err := y.Floats(context.Background())
	fmt.Println(y.Shape(), values, err)
	// Output: [3 2] [1 4 2 5 3 6] <nil>
}
