package models_test

import (
	"fmt"
	"log"
	"os"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
	"hidiff/wgpu"
)

// Prepares a model on the GPU. Load("small"), or Load(), would be the one that is built in.
func ExampleLoad() {
	os.Setenv("HIDIFF_MODELS", "../../conformance/testdata") // where the tests' tiny model is called checkpoints
	defer os.Unsetenv("HIDIFF_MODELS")
	weights, err := models.Load("checkpoints")
	if err != nil {
		log.Fatal(err)
	}
	if len(wgpu.Adapters()) > 0 { // not even a software one?
		model, err := hidiff.NewModel(weights, hidiff.Options{})
		if err != nil {
			log.Fatal(err)
		}
		defer model.Close()
	}
	fmt.Println(weights.Hash())
	// Output: 2ac1bf8842d9d83a
}
