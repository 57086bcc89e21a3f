package conformance_test

import (
	"fmt"

	"hidiff/conformance"
	"hidiff/internal/fixture"
)

func Example() {
	f, err := conformance.OpenFixture(fixture.Testdata("ops", "softmax_last.safetensors"))
	if err != nil {
		fmt.Println(err)
		return
	}
	want, err := f.Tensor("out")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Kind, f.Op, want.Shape)

	got := make([]float32, len(want.Data)) // as if nothing had been computed
	d, err := conformance.Compare(got, want.Data, want.Shape, want.Shape)
	fmt.Println(err, d.Within(1e-5) == nil)
	// Output:
	// op softmax [4 7 16]
	// <nil> false
}
