// Command embed shows how another module uses hidiff: it restores one photo with the built-in model.
//
//	go run . BLURRY.png SHARP.png
package main

import (
	"context"
	"fmt"
	"image"
	_ "image/jpeg"
	"image/png"
	"log"
	"os"
	"os/signal"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: embed BLURRY.png SHARP.png")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, from, to string) error {
	blurry, err := read(from)
	if err != nil {
		return err
	}
	weights, err := models.Load(ctx, hidiff.LoadOptions{}) // the built-in ones; name a file or folder for others
	if err != nil {
		return err
	}
	model, err := hidiff.NewModel(ctx, weights, hidiff.Options{})
	if err != nil {
		return err
	}
	defer model.Close()
	sharp, err := model.Deblur(ctx, blurry)
	if err != nil {
		return err
	}
	if err := write(to, sharp); err != nil {
		return err
	}
	fmt.Printf("%s: %d×%d pixels\n", to, sharp.Bounds().Dx(), sharp.Bounds().Dy())
	return nil
}

func read(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	return m, err
}

func write(path string, m image.Image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := png.Encode(f, m); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
