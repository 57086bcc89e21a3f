package trainer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// eventFile is one of TensorBoard's event files: TFRecords of protocol buffers
// (tensorflow/core/util/event.proto and framework/summary.proto). Each record is one
// write, so what has been reported survives a crash.
type eventFile struct {
	f   *os.File
	now func() time.Time
}

// newEventFile begins a file in folder, which may hold those of earlier runs. Where a run
// resumes from iteration start, TensorBoard is told to forget what these reported later.
func newEventFile(folder string, start int, now func() time.Time) (*eventFile, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, err
	}
	// TensorBoard reads files in the order of their names.
	name := filepath.Join(folder, fmt.Sprintf("events.out.tfevents.%010d.%s", now().Unix(), host))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	for n := 1; errors.Is(err, fs.ErrExist); n++ {
		f, err = os.OpenFile(fmt.Sprintf("%s.%d", name, n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	}
	if err != nil {
		return nil, err
	}
	e := &eventFile{f: f, now: now}
	var version message
	version.text(eventFileVersion, "brain.Event:2")
	err = e.write(0, version)
	if err == nil && start > 0 {
		var session, event message
		session.varint(sessionStatus, sessionStart)
		event.bytes(eventSessionLog, session)
		err = e.write(start+1, event)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return e, nil
}

func (e *eventFile) Close() error { return e.f.Close() }

// scalars writes values, whose names are tags, in one event.
func (e *eventFile) scalars(iter int, values []scalar) error {
	var summary, event message
	for _, s := range values {
		var value message
		value.text(valueTag, s.Name)
		value.float(valueSimple, float32(s.Value))
		summary.bytes(summaryValue, value)
	}
	event.bytes(eventSummary, summary)
	return e.write(iter, event)
}

// image writes a picture.
func (e *eventFile) image(iter int, tag string, img image.Image) error {
	var file bytes.Buffer
	if err := png.Encode(&file, img); err != nil {
		return err
	}
	const rgb = 3
	var picture, value, summary, event message
	picture.varint(imageHeight, uint64(img.Bounds().Dy()))
	picture.varint(imageWidth, uint64(img.Bounds().Dx()))
	picture.varint(imageColorspace, rgb)
	picture.bytes(imageEncoded, file.Bytes())
	value.text(valueTag, tag)
	value.bytes(valueImage, picture)
	summary.bytes(summaryValue, value)
	event.bytes(eventSummary, summary)
	return e.write(iter, event)
}

// write adds time and iteration to an event, and frames it.
func (e *eventFile) write(iter int, rest message) error {
	var event message
	event.double(eventWallTime, float64(e.now().UnixNano())/1e9)
	event.varint(eventStep, uint64(iter))
	_, err := e.f.Write(tfRecord(append(event, rest...)))
	return err
}

// scalars are the report's values by TensorBoard's tags.
func (r iterReport) scalars() []scalar {
	var out []scalar
	for _, l := range r.Losses {
		out = append(out, scalar{"losses/" + l.Name, l.Value})
	}
	return append(out,
		scalar{"train/lr", r.LR},
		scalar{"train/grad_norm", r.GradNorm},
		scalar{"speed/images_per_second", r.ImagesPerSecond},
		scalar{"memory/gpu_bytes", float64(r.GPUBytes)})
}

// tfRecord frames data: its length, the length's checksum, data, and its checksum.
func tfRecord(data []byte) []byte {
	le := binary.LittleEndian
	out := le.AppendUint64(make([]byte, 0, len(data)+16), uint64(len(data)))
	out = le.AppendUint32(out, maskedCRC(out))
	out = append(out, data...)
	return le.AppendUint32(out, maskedCRC(data))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's checksum: CRC-32C, rotated, plus a constant.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// The numbers of the fields in use.
const (
	eventWallTime    = 1 // double
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5
	eventSessionLog  = 7

	sessionStatus = 1 // SessionLog
	sessionStart  = 1 // its value START

	summaryValue = 1 // Summary, repeated

	valueTag    = 1 // Summary.Value
	valueSimple = 2 // float
	valueImage  = 4

	imageHeight     = 1 // Summary.Image
	imageWidth      = 2
	imageColorspace = 3
	imageEncoded    = 4 // bytes
)

// message is a protocol buffer under construction.
type message []byte

func (m *message) key(field, wire int) { *m = binary.AppendUvarint(*m, uint64(field<<3|wire)) }

func (m *message) varint(field int, v uint64) {
	m.key(field, 0)
	*m = binary.AppendUvarint(*m, v)
}

func (m *message) double(field int, v float64) {
	m.key(field, 1)
	*m = binary.LittleEndian.AppendUint64(*m, math.Float64bits(v))
}

func (m *message) bytes(field int, v []byte) {
	m.key(field, 2)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

func (m *message) text(field int, v string) { m.bytes(field, []byte(v)) }

func (m *message) float(field int, v float32) {
	m.key(field, 5)
	*m = binary.LittleEndian.AppendUint32(*m, math.Float32bits(v))
}
