package tensor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"hidiff/wgpu"
)

var photoShader = newShader[photoParams, none]("photo")

type photoParams struct {
	Rows, Width, Padded, Channels, Height, X0, Y0 int
	Max                                           float32
}

// ErrNonFinite says that a picture holds a NaN or an infinity, which no pixel
// can show.
var ErrNonFinite = errors.New("the picture holds values that are not finite: the weights or the GPU driver are broken")

// FromPixels returns the image [1, paddedHeight, paddedWidth, 3] of a picture,
// samples over white: interleaved, top row first, with 3 channels or 1, which
// becomes three equal ones. What is padded to the right and below mirrors the
// picture without repeating its edge, back and forth if need be.
// PyTorch: F.pad(x, (0, right, 0, bottom), "reflect").
func FromPixels(d *Device, pix []uint16, white uint16, width, height, channels, paddedWidth, paddedHeight int) *Tensor {
	if channels != 1 && channels != 3 || width < 1 || height < 1 || paddedWidth < width || paddedHeight < height || white == 0 {
		panic(&ShapeError{"from_pixels", "picture", "1 or 3 channels and no less padded than not", []int{height, width, channels, paddedHeight, paddedWidth}})
	}
	row := width * channels
	if len(pix) != height*row && !d.Dry() {
		panic(&ShapeError{"from_pixels", "pix", fmt.Sprintf("%d samples", height*row), []int{len(pix)}})
	}
	y := newWhole(d, 1, 1, paddedHeight, paddedWidth, 3)
	eachBand(y, bandCost{widths: []int{y.width()}}, func(b band) {
		rows := b.y1 - b.y0
		packed := alloc(d, "pixels", int64(2*rows*row+2))
		if !d.Dry() {
			samples := make([]uint16, 0, rows*row+1)
			for r := b.y0; r < b.y1; r++ {
				samples = append(samples, pix[mirror(r, height)*row:][:row]...)
			}
			d.Upload(packed.buffer, 0, sampleBytes(append(samples, 0)[:(rows*row+1)&^1]))
		}
		ys := y.target(b)
		yv, y0 := ys.view()
		photoShader.run(d, "from_pixels", none{}, photoParams{
			Rows: rows, Width: width, Padded: paddedWidth, Channels: channels, Y0: y0, Max: float32(white),
		}, call{
			views:  views(wgpu.Whole(packed.buffer), yv),
			groups: spread(ceilDiv(rows*paddedWidth, 64)),
		})
		packed.buffer.Release()
		y.commit(b, ys)
	})
	return y
}

// Pixels waits for an image [1, H, W, 3] and returns its upper left part as a
// picture: clamped to [0, 1], times white, rounded half to even. One channel is
// the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). A NaN or an infinity in
// that part is an [ErrNonFinite].
func (t *Tensor) Pixels(ctx context.Context, white uint16, width, height, channels int) (pix []uint16, err error) {
	defer Catch(&err)
	fits := len(t.shape) == 4 && t.shape[0] == 1 && t.Channels() == 3 && t.parts == 1
	expect(fits && height <= t.shape[1] && width <= t.shape[2] && height > 0 && width > 0 && (channels == 1 || channels == 3), "pixels", "image",
		fmt.Sprintf("[1, H, W, 3] with room for %dx%d, and 1 or 3 channels", width, height), t)
	d, row := t.d, width*channels
	pix = make([]uint16, height*row, height*row+1) // the last word may be half used
	broken := alloc(d, "broken", 4)
	defer broken.buffer.Release()
	d.Clear(broken.buffer, 0, 4)
	eachBand(t, bandCost{widths: []int{t.width()}}, func(b band) {
		rows := min(b.y1, height) - b.y0
		if rows <= 0 || err != nil {
			return
		}
		words := ceilDiv(rows*row, 2)
		packed := alloc(d, "pixels", int64(4*words))
		defer packed.buffer.Release()
		xs := t.rowsOf(b, 0)
		xv, x0 := xs.view()
		photoShader.run(d, "to_pixels", none{}, photoParams{
			Rows: rows, Width: width, Padded: t.shape[2], Channels: channels, X0: x0, Max: float32(white),
		}, call{
			views:  views(xv, wgpu.Whole(packed.buffer), wgpu.Whole(broken.buffer)),
			groups: spread(ceilDiv(words, 64)),
		})
		xs.Release()
		err = d.Read(ctx, packed.buffer, 0, sampleBytes(pix[b.y0*row:][:2*words]))
	})
	if err != nil {
		return nil, err
	}
	flag := make([]byte, 4)
	if err := d.Read(ctx, broken.buffer, 0, flag); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(flag) != 0 {
		return nil, ErrNonFinite
	}
	return pix, nil
}

// ReflectPad extends images x [N, H, W, C] to the right and below as
// [FromPixels] does. PyTorch: F.pad(x, (0, right, 0, bottom), "reflect").
func ReflectPad(x *Tensor, right, bottom int) *Tensor {
	expect(len(x.shape) == 4 && right >= 0 && bottom >= 0, "reflect_pad", "x", "[N, H, W, C], and no negative padding", x)
	n, h, w := x.geometry()
	return reflectPad("reflect_pad", x, newParts(x.d, x.parts, n, h+bottom, w+right, x.Channels()), h, w, right, bottom)
}

// ReflectPadBackward returns the gradient of x for y = ReflectPad(x, right,
// bottom) under dy.
func ReflectPadBackward(dy *Tensor, right, bottom int) *Tensor {
	n, h, w := dy.geometry()
	expect(len(dy.shape) == 4 && right < w && bottom < h, "reflect_pad", "dy", "[N, H, W, C] with padding", dy)
	h, w = h-bottom, w-right
	return reflectPad("reflect_pad_gradient", dy, newParts(dy.d, dy.parts, n, h, w, dy.Channels()), h, w, right, bottom)
}

func reflectPad(entry string, x, y *Tensor, h, w, right, bottom int) *Tensor {
	for i := range x.shape[0] {
		xi, yi := x.Image(i), y.Image(i)
		xv, x0 := xi.view()
		yv, y0 := yi.view()
		photoShader.run(x.d, entry, none{}, photoParams{
			Rows: h + bottom, Width: w, Padded: w + right, Channels: x.width() / 4, Height: h, X0: x0, Y0: y0,
		}, call{
			views:  views(xv, yv),
			groups: spread(ceilDiv(int(yi.bytes()/16), 64)),
		})
		xi.Release()
		yi.Release()
	}
	return y
}

// mirror folds i back into 0..n-1 at 0 and n-1, as often as needed.
func mirror(i, n int) int {
	period := max(2*(n-1), 1)
	return min(i%period, period-i%period)
}

func sampleBytes(s []uint16) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), 2*len(s))
}
