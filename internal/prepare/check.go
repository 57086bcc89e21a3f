package prepare

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"

	"hidiff/hidiff/photo"
)

// CheckOptions say how to look at a dataset.
type CheckOptions struct {
	Decode   bool                  // decode all photos, not only their headers, and compare pixels
	Workers  int                   // photos to read at a time
	Progress func(done, total int) // called now and then, by one goroutine at a time; may be nil
}

// Report is what a dataset holds, and what is wrong with it.
type Report struct {
	Input    string         `json:"input"`
	Target   string         `json:"target"`
	Pairs    int            `json:"pairs"`
	Smallest SizeCount      `json:"smallest"` // by pixels
	Largest  SizeCount      `json:"largest"`
	Common   SizeCount      `json:"most_common"`
	Depths   map[string]int `json:"depths"`  // "8" and "16": photos with as many bits a sample
	Colours  map[string]int `json:"colours"` // "grey" and "colour": photos
	Problems []Problem      `json:"problems"`
	// PassedOver counts, by extension, files that look like pictures of formats that are not read.
	PassedOver map[string]int `json:"passed_over,omitempty"`
	// Unmanaged lists photos whose colours are off, as [photo.Info] says.
	Unmanaged []string `json:"unmanaged,omitempty"`
}

// SizeCount is a size, and how many photos have it.
type SizeCount struct {
	Width  int `json:"width"`
	Height int `json:"height"`
	Photos int `json:"photos"`
}

// Check looks at all photos of a dataset. Errors are about folders, or ctx's.
func Check(ctx context.Context, f Folders, o CheckOptions) (*Report, error) {
	pairs, problems, passedOver, err := f.pairs()
	if err != nil {
		return nil, err
	}
	seen, err := look(ctx, pairs, o)
	if err != nil {
		return nil, err
	}
	r := &Report{Input: f.Input(), Target: f.Target(), Pairs: len(pairs), Depths: map[string]int{}, Colours: map[string]int{}}
	sizes := map[[2]int]int{}
	pictures := map[[sha256.Size]byte]string{}
	for i, p := range pairs {
		problems = append(problems, problemsOf(p, seen[i])...)
		for k, file := range []string{p.input, p.target} {
			s := seen[i][k]
			if s.err != nil {
				continue
			}
			sizes[[2]int{s.Width, s.Height}]++
			r.Depths[strconv.Itoa(s.Depth)]++
			r.Colours[colour(s.Info)]++
			other, twice := pictures[s.sum]
			switch {
			case o.Decode && twice:
				problems = append(problems, Problem{Duplicate, []string{other, file}, other + " and " + file})
			case o.Decode:
				pictures[s.sum] = file
			}
		}
	}
	for size, n := range sizes {
		s := SizeCount{size[0], size[1], n}
		if r.Smallest.Photos == 0 || s.less(r.Smallest) {
			r.Smallest = s
		}
		if r.Largest.less(s) {
			r.Largest = s
		}
		if n > r.Common.Photos || n == r.Common.Photos && r.Common.less(s) {
			r.Common = s
		}
	}
	r.Unmanaged = unmanaged(pairs, seen)
	if len(passedOver) > 0 {
		r.PassedOver = passedOver
	}
	r.Problems = append([]Problem{}, problems...) // [] in JSON
	return r, nil
}

// less orders sizes by pixels, then by width.
func (s SizeCount) less(t SizeCount) bool {
	if a, b := s.Width*s.Height, t.Width*t.Height; a != b {
		return a < b
	}
	return s.Width < t.Width
}

func colour(i photo.Info) string {
	if i.Channels == 1 {
		return "grey"
	}
	return "colour"
}

// sight is what was seen of a photo.
type sight struct {
	photo.Info
	sum [sha256.Size]byte // of the pixels, if they were decoded
	err error             // names the file
}

// look reads input and target of all pairs, several at a time.
func look(ctx context.Context, pairs []pair, o CheckOptions) ([][2]sight, error) {
	seen := make([][2]sight, len(pairs))
	done := counter(len(pairs), o.Progress)
	err := parallel(ctx, len(pairs), o.Workers, func(i int) error {
		p := pairs[i]
		if o.Decode {
			seen[i] = [2]sight{decode(p.input), decode(p.target)}
		} else {
			seen[i] = headers(p)
		}
		done()
		return nil
	})
	return seen, err
}

// unmanaged are the files of photos whose colours are off.
func unmanaged(pairs []pair, seen [][2]sight) (files []string) {
	for i, p := range pairs {
		for k, file := range []string{p.input, p.target} {
			if seen[i][k].Unmanaged {
				files = append(files, file)
			}
		}
	}
	return files
}

// headers reads a pair's headers from the files' first page. That may lack the header, the EXIF orientation
// that turns the picture, or a part of its profile, so what looks wrong gets a second, full look.
func headers(p pair) [2]sight {
	const page = 4096
	seen := [2]sight{header(p.input, page), header(p.target, page)}
	if len(problemsOf(p, seen)) > 0 || seen[0].Unmanaged || seen[1].Unmanaged {
		seen = [2]sight{header(p.input, math.MaxInt64), header(p.target, math.MaxInt64)}
	}
	return seen
}

// header reads a photo's header from so many bytes of its file.
func header(path string, limit int64) (s sight) {
	f, err := os.Open(path)
	if err != nil {
		return sight{err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return sight{err: fmt.Errorf("%s: %w", path, err)}
	}
	s.Info, s.err = photo.Probe(data, path)
	return s
}

// decode reads a whole photo.
func decode(path string) sight {
	p, err := photo.Open(path)
	if err != nil {
		return sight{err: err}
	}
	s := sight{Info: infoOf(p)}
	data := fmt.Appendf(nil, "%d %d %d %d ", p.Width, p.Height, p.Channels, p.Max)
	for _, samples := range [][]uint16{p.Pix, p.Alpha} {
		data = slices.Grow(data, 2*len(samples))
		for _, v := range samples {
			data = binary.LittleEndian.AppendUint16(data, v)
		}
	}
	s.sum = sha256.Sum256(data)
	return s
}

func infoOf(p *photo.Photo) photo.Info {
	i := photo.Info{Format: p.Format, Width: p.Width, Height: p.Height, Channels: p.Channels, Depth: 8, Alpha: p.Alpha != nil, Unmanaged: p.Unmanaged}
	if p.Max > 255 {
		i.Depth = 16
	}
	return i
}

// problemsOf tells what is wrong with a pair.
func problemsOf(p pair, seen [2]sight) (problems []Problem) {
	input, target := seen[0], seen[1]
	for k, file := range []string{p.input, p.target} {
		if err := seen[k].err; err != nil {
			problems = append(problems, Problem{Unreadable, []string{file}, err.Error()})
		}
	}
	if problems != nil {
		return problems
	}
	differ := func(kind, format string, a, b any) {
		if a != b {
			problems = append(problems, Problem{kind, []string{p.input, p.target},
				fmt.Sprintf("%s "+format+", %s "+format, p.input, a, p.target, b)})
		}
	}
	differ(Size, "is %s", dimensions(input.Info), dimensions(target.Info))
	differ(Depth, "has %d bits", input.Depth, target.Depth)
	return problems
}

func dimensions(i photo.Info) string { return fmt.Sprintf("%d×%d", i.Width, i.Height) }
