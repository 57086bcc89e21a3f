package photo_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"hidiff/hidiff/photo"
)

// Reads a 16-bit photo, darkens it and writes it in two formats.
func Example() {
	dir, err := os.MkdirTemp("", "photo")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in := filepath.Join(dir, "in.tif")
	grey := &photo.Photo{Width: 2, Height: 1, Channels: 1, Max: 65535, Pix: []uint16{20000, 65535}}
	if err := photo.Save(in, grey, photo.EncodeOptions{}); err != nil {
		log.Fatal(err)
	}

	p, err := photo.Open(in)
	if err != nil {
		log.Fatal(err)
	}
	for i := range p.Pix {
		p.Pix[i] /= 2
	}
	for _, name := range []string{"out.png", "out.webp"} {
		out := filepath.Join(dir, name)
		if err := photo.Save(out, p, photo.EncodeOptions{}); err != nil {
			log.Fatal(err)
		}
		q, err := photo.Open(out)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(q.Format, q.Channels, q.Max, q.Pix)
	}
	// Output:
	// png 1 65535 [10000 32767]
	// webp 3 255 [39 39 39 127 127 127]
}
