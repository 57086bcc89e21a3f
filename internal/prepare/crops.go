package prepare

import (
	"fmt"
	"image"
	"os"
	"time"

	"hidiff/hidiff/photo"
)

// origins are where crops begin along one side of a photo: at every stride, and, where the last of those
// does not reach the edge, at the edge.
func origins(length, crop, stride int) (at []int) {
	for x := 0; x < length-crop; x += stride {
		at = append(at, x)
	}
	return append(at, length-crop)
}

// crop is a part of a photo, and the name of its file.
type crop struct {
	file string
	at   image.Point
}

// grid are the crops of a training photo, row by row, numbered from 1.
func grid(name string, width, height, size, stride int) (crops []crop) {
	for _, y := range origins(height, size, stride) {
		for _, x := range origins(width, size, stride) {
			crops = append(crops, crop{fmt.Sprintf("%s-%d.png", name, len(crops)+1), image.Pt(x, y)})
		}
	}
	return crops
}

// centre is the one crop of a validation photo.
func centre(name string, width, height, size int) []crop {
	return []crop{{name + ".png", image.Pt((width-size)/2, (height-size)/2)}}
}

// pngEnd is how every PNG ends.
const pngEnd = "\x00\x00\x00\x00IEND\xaeB`\x82"

// isCrop reports whether a file is there, whole, not older than its photo, and such a crop as the photo
// gives. photo.Save leaves no halves, but other programs do.
func isCrop(path string, size int, of photo.Info, changed time.Time) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(changed) {
		return false
	}
	h := header(path, 4096)
	if h.err != nil || h.Format != photo.PNG || h.Width != size || h.Height != size || h.Channels != of.Channels || h.Depth != of.Depth {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	end := make([]byte, len(pngEnd))
	_, err = f.ReadAt(end, info.Size()-int64(len(end)))
	return err == nil && string(end) == pngEnd
}
