package video

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"hidiff/hidiff/photo"
)

// decoder is an ffmpeg that sends pixels.
type decoder struct {
	info    *Info
	cmd     *exec.Cmd
	said    *complaints
	pixels  io.ReadCloser
	samples []byte
	frames  int // sent
}

// scaling converts colours with care; sizes do not change.
const scaling = ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"

func (v *Info) decode(ctx context.Context) (*decoder, error) {
	filter := fmt.Sprintf("scale=%d:%d", v.Width, v.Height)
	if v.matrix != "" {
		filter += fmt.Sprintf(":in_color_matrix=%s:in_range=%s", v.matrix, v.colorRange())
	}
	format := map[[2]int]string{{3, 8}: "rgb24", {3, 16}: "rgb48le", {4, 8}: "rgba", {4, 16}: "rgba64le"}[[2]int{v.channels(), v.depth()}]
	args := []string{"-nostdin", "-v", "error", "-xerror"}
	if v.decoder != "" {
		args = append(args, fmt.Sprintf("-c:%d", v.stream.Index), v.decoder)
	}
	args = append(args, "-i", "file:"+v.Path,
		"-map", fmt.Sprintf("0:%d", v.stream.Index), "-fps_mode", "passthrough",
		"-vf", filter+scaling+",format="+format, "-f", "rawvideo", "pipe:1")
	cmd, said, err := command(ctx, "ffmpeg", args...)
	if err != nil {
		return nil, err
	}
	d := &decoder{info: v, cmd: cmd, said: said, samples: make([]byte, v.Width*v.Height*v.channels()*v.depth()/8)}
	if d.pixels, err = cmd.StdoutPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("ffmpeg does not run: %w", err)
	}
	return d, nil
}

// depth is how many bits a sample has on its way.
func (v *Info) depth() int {
	if v.Depth > 8 {
		return 16
	}
	return 8
}

// channels is how many samples a pixel has on its way: 4 where there is transparency.
func (v *Info) channels() int {
	if v.alpha {
		return 4
	}
	return 3
}

// colorRange is tv (16 to 235) or pc (0 to 255).
func (v *Info) colorRange() string {
	if v.stream.ColorRange == "pc" {
		return "pc"
	}
	return "tv"
}

// next returns the next frame.
func (d *decoder) next() (*photo.Photo, error) {
	if _, err := io.ReadFull(d.pixels, d.samples); err != nil {
		return nil, d.brokenOff(d.cmd.Wait())
	}
	d.frames++
	p := d.info.black()
	at := 0
	take := func() (v uint16) {
		if p.Max == 255 {
			v = uint16(d.samples[at])
			at++
		} else {
			v = binary.LittleEndian.Uint16(d.samples[at:])
			at += 2
		}
		return v
	}
	for i := range p.Width * p.Height {
		for c := range 3 {
			p.Pix[3*i+c] = take()
		}
		if p.Alpha != nil {
			p.Alpha[i] = take()
		}
	}
	return p, nil
}

// finish makes sure that the last frame was the last.
func (d *decoder) finish() error {
	extra, err := io.Copy(io.Discard, d.pixels)
	if waited := d.cmd.Wait(); err == nil {
		err = waited
	}
	if err == nil && extra > 0 {
		err = errors.New("ffmpeg finds more frames than ffprobe does")
	}
	if err != nil {
		return d.brokenOff(err)
	}
	return nil
}

func (d *decoder) brokenOff(err error) error {
	if err == nil {
		err = errors.New("the next frame cannot be read")
	}
	return fmt.Errorf("%s%w", d.info.Path, brokenOff(d.frames, len(d.info.Times), d.said.first(err)))
}
