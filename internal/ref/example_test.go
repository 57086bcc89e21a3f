package ref_test

import (
	"fmt"

	"hidiff/internal/ref"
)

func Example() {
	x := ref.From([]float64{1, 2}, 1, 2)
	w := ref.From([]float64{3, 4, 5, 6}, 2, 2)
	gradOut := ref.From([]float64{1, 0}, 1, 2)

	y := ref.Linear(x, w, nil)
	dx, dw, _ := ref.LinearBackward(x, w, nil, gradOut)
	fmt.Println(y.Shape, y.Data)
	fmt.Println(dx.Data, dw.Data)
	// Output:
	// [1 2] [11 17]
	// [3 4] [1 2 0 0]
}

// Operators by name, as the metadata of fixtures gives them.
func ExampleLookup() {
	op, ok := ref.Lookup("pixel_shuffle")
	if !ok {
		return
	}
	in := ref.Tensors{"x": ref.New(1, 3, 5, 5)}
	err := ref.Try(func() { op.Forward(in, ref.Attrs{"r": 2}) })
	fmt.Println(err)
	// Output: pixel_shuffle: x is [1 3 5 5], want channels divisible by r² for r = 2
}
