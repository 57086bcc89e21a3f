package video_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hidiff/hidiff/photo"
	"hidiff/hidiff/video"
	"hidiff/internal/testenv"
)

func TestMain(m *testing.M) {
	_, err := exec.LookPath("ffmpeg")
	testenv.Main(m, "FFMPEG", err == nil)
}

// Turns a clip into its negative.
func Example() {
	dir, err := os.MkdirTemp("", "video")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	clip, negative := filepath.Join(dir, "clip.mp4"), filepath.Join(dir, "negative.mp4")
	err = exec.Command("ffmpeg", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=0.2", clip).Run()
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	info, err := video.Probe(ctx, clip)
	if err != nil {
		log.Fatal(err)
	}
	if err := info.Check(ctx, negative); err != nil {
		log.Fatal(err)
	}
	err = info.Transform(ctx, negative, func(i int, frame *photo.Photo) (*photo.Photo, error) {
		for k, v := range frame.Pix {
			frame.Pix[k] = frame.Max - v
		}
		return frame, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	info, err = video.Probe(ctx, negative)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(info.Times), "frames of", info.Width, "×", info.Height)
	// Output: 5 frames of 64 × 48
}
