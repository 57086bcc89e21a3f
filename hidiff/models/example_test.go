package models_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
	"hidiff/internal/testgpu"
)

func TestMain(m *testing.M) { testgpu.Main(m) }

// Prepares a model on the GPU. Load("small"), or Load(), would be the one that is built in.
func ExampleLoad() {
	os.Setenv("HIDIFF_MODELS", "../../conformance/testdata") // where the tests' tiny model is called checkpoints
	defer os.Unsetenv("HIDIFF_MODELS")
	weights, err := models.Load(context.Background(), hidiff.LoadOptions{}, "checkpoints")
	if err != nil {
		log.Fatal(err)
	}
	model, err := hidiff.NewModel(context.Background(), weights, hidiff.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(weights.Hash())
	// Output: 2ac1bf8842d9d83a
}
