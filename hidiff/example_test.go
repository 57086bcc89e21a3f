package hidiff_test

import (
	"context"
	"fmt"
	"image/png"
	"log"
	"os"

	"hidiff/hidiff"
)

// Restores a photo with tiny made-up weights, which take their shape but not
// their meaning from HI-Diff: real ones make it sharp.
func Example() {
	model, err := hidiff.Open(context.Background(), "../conformance/testdata/checkpoints", hidiff.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	file, err := os.Open("../conformance/testdata/end_to_end/gopro_tiny_astronaut_101x131.png")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	blurry, err := png.Decode(file)
	if err != nil {
		log.Fatal(err)
	}
	sharp, err := model.Deblur(context.Background(), blurry)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sharp.Bounds().Dx(), "x", sharp.Bounds().Dy())
	// Output: 131 x 101
}
