package checkpoint_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"hidiff/hidiff/checkpoint"
)

// Weights of PyTorch become a half-precision safetensors bundle.
func Example() {
	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	file, err := checkpoint.Open(context.Background(), "testdata/gopro_tiny_net_d.pth")
	if err != nil {
		panic(err)
	}
	weights, err := file.Weights("params")
	if err != nil {
		panic(err)
	}
	half := checkpoint.NewStateDict()
	for key, array := range weights.All() {
		half.Set(key, array.As(checkpoint.F16))
	}
	bundle := filepath.Join(dir, "hidiff.safetensors")
	err = checkpoint.WriteSafetensors(bundle, map[string]*checkpoint.StateDict{"net_d": half}, map[string]string{"config": "gopro_tiny"})
	if err != nil {
		panic(err)
	}

	read, err := checkpoint.Open(context.Background(), bundle)
	if err != nil {
		panic(err)
	}
	first, _ := read.Groups["net_d"].Get("time_mlp")
	fmt.Println(read.Format, read.Metadata["config"], first.Shape, first.DType)
	// Output: safetensors gopro_tiny [1] F16
}

// A .pth for torch.load.
func ExampleWritePTH() {
	dir, err := os.MkdirTemp("", "checkpoint")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	state := checkpoint.NewStateDict()
	state.Set("conv.weight", checkpoint.NewArray([]int{1, 2}, []float32{0.5, -0.5}))
	value := checkpoint.NewDict()
	value.Set("params", state)
	path := filepath.Join(dir, "net_g_latest.pth")
	if err := checkpoint.WritePTH(path, value); err != nil {
		panic(err)
	}

	loaded, err := checkpoint.LoadPickle(path)
	if err != nil {
		panic(err)
	}
	params, _ := loaded.(*checkpoint.Dict).Get("params")
	weight, _ := params.(*checkpoint.StateDict).Get("conv.weight")
	fmt.Println(weight.Shape, weight.Float32s())
	// Output: [1 2] [0.5 -0.5]
}
