package photo

import "slices"

// Tags of a TIFF that are metadata.
const (
	tagTransfer   = 301
	tagWhitePoint = 318
	tagPrimaries  = 319
	tagIPTC       = 33723
	tagResources  = 34377 // Photoshop's
	tagLayers     = 37724 // Photoshop's
)

// readTIFF reads the metadata of a picture's directory.
func (m *Metadata) readTIFF(b block, fields []field, t *tiffPicture) {
	m.XMP = find(fields, tagXMP).value
	m.ICC = find(fields, tagICC).value
	m.resolution = tiffResolution(b, fields)
	if m.resources = find(fields, tagResources).value; iptc(m.resources) == nil {
		m.resources = append(asResources(slices.Clone(find(fields, tagIPTC).value)), m.resources...)
	}
	if find(fields, tagLayers).tag != 0 {
		m.addLost("Photoshop's layers")
	}
	transfer := b.numbers(find(fields, tagTransfer))
	if !slices.Contains([]int{whiteIsZero, blackIsZero, rgb, yCbCr}, t.photometric) { // they speak of other samples than the pixels will have
		fields = slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return f.tag == tagWhitePoint || f.tag == tagPrimaries })
		transfer = nil
	}
	if transfer != nil {
		var data []byte
		for _, v := range transfer {
			data = append(data, byte(v>>8), byte(v))
		}
		m.extras = append(m.extras, extra{TIFF, "transfer", "transfer function", data})
	}
	m.EXIF = exifOf(b, fields)
}

// tiffFields are the metadata beside EXIF.
func (m *Metadata) tiffFields(b block) (fields []field) {
	add := func(tag, kind uint16, value []byte) {
		if value != nil {
			fields = append(fields, field{tag: tag, kind: kind, count: uint32(len(value)), value: value})
		}
	}
	if m.resolution != (resolution{}) {
		fields = m.resolution.fields(b)
	}
	add(tagXMP, kindByte, m.XMP)
	add(tagICC, kindUndefined, m.ICC)
	add(tagResources, kindByte, m.resources)
	add(tagIPTC, kindUndefined, iptc(m.resources))
	if transfer := m.extra(TIFF, "transfer"); transfer != nil {
		var v []uint16
		for ; len(transfer) > 1; transfer = transfer[2:] {
			v = append(v, be16(transfer))
		}
		fields = append(fields, b.shortField(tagTransfer, v...))
	}
	return fields
}
