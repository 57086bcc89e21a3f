package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image/color"

	"golang.org/x/image/bmp"
)

func inspectBMP(data []byte) (*file, error) {
	cfg, err := bmp.DecodeConfig(bytes.NewReader(data))
	if errors.Is(err, bmp.ErrUnsupported) {
		return nil, errors.New("a BMP of an unsupported kind; it must be uncompressed with 1 to 8, 24 or 32 bits per pixel")
	}
	if err != nil {
		return nil, errTruncated
	}
	bits := int64(binary.LittleEndian.Uint16(data[28:]))
	f := &file{Info: Info{Format: BMP, Width: cfg.Width, Height: cfg.Height, Channels: 3, Depth: 8}}
	if pal, ok := cfg.ColorModel.(color.Palette); ok && greyPalette(pal) {
		f.Channels = 1
	}
	f.Alpha = bits == 32 && binary.LittleEndian.Uint32(data[14:]) > 40
	f.payload = int64(len(data)) - int64(binary.LittleEndian.Uint32(data[10:]))
	f.needs = (int64(cfg.Width)*bits + 31) / 32 * 4 * int64(cfg.Height)
	f.pixels = func() (*Photo, error) {
		img, err := decodeWith(bmp.Decode, data)
		if err != nil {
			return nil, err
		}
		p := fromImage(img)
		if !f.Alpha || allEqual(p.Alpha, 0) { // many writers leave the fourth byte 0 and mean opaque
			p.Alpha = nil
		}
		return p, nil
	}
	return f, nil
}

func encodeBMP(p *Photo) ([]byte, error) {
	var out bytes.Buffer
	err := bmp.Encode(&out, p.opaque8())
	return out.Bytes(), err
}
