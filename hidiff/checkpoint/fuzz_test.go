package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
)

// allocated is the number of bytes ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// tryRead reads data and checks that the answer is sound and cheap.
func tryRead(t *testing.T, data []byte) {
	t.Helper()
	before := allocated()
	file, err := readBytes(data)
	if used := allocated() - before; used > 64<<20+256*uint64(len(data)) {
		t.Fatalf("a file of %d bytes took %d bytes of memory", len(data), used)
	}
	if err != nil {
		if !strings.HasPrefix(err.Error(), "hostile.pth: ") {
			t.Fatalf("error without the file's name: %v", err)
		}
		return
	}
	for _, group := range file.Groups {
		for key, a := range group.All() {
			if err := a.check(); err != nil {
				t.Fatalf("%q: %v", key, err)
			}
		}
	}
}

// FuzzPTH feeds bytes to the .pth readers as a file, and as the pickle in a zip
// archive and in a legacy file, past the checksums that shield it.
func FuzzPTH(f *testing.F) {
	paths, err := filepath.Glob("testdata/torch_*")
	if err != nil || len(paths) == 0 {
		f.Fatal("no seeds: ", err)
	}
	for _, path := range append(paths, "testdata/bad_malicious.pth") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if at := bytes.Index(data, []byte("\x80\x02}")); at >= 0 {
			f.Add(data[at:]) // the pickle
		}
	}
	f.Add([]byte(tensorPickle(6, 1, []int64{2, 2}, []int64{1, 2})))
	f.Add([]byte(tensorPickle(6, 0, []int64{1 << 23}, []int64{0})))
	f.Add([]byte("\x80\x02]q\x00h\x00a."))

	storages := map[string]string{"data/0": strings.Repeat("\x00\x00\x80\x3f", 6), "data/1": "12345678"}
	const legacyHead = "\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
	f.Fuzz(func(t *testing.T, data []byte) {
		tryRead(t, data)
		tryRead(t, archiveOf(t, string(data), storages))
		tryRead(t, append([]byte(string(legacyMagic)+legacyHead), data...))

		// What can be read in full can be written and read again.
		zipped := archiveOf(t, string(data), storages)
		value, err := readZip(bytes.NewReader(zipped), int64(len(zipped)))
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := writeZip(&buf, value); err != nil {
			if strings.Contains(err.Error(), "a checkpoint.Opaque") {
				return // it is nothing that can be written
			}
			t.Fatalf("%#v cannot be written: %v", value, err)
		}
		again, err := readZip(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
		if err != nil {
			t.Fatalf("%#v cannot be read back: %v", value, err)
		}
		var second bytes.Buffer
		if err := writeZip(&second, again); err != nil || !bytes.Equal(buf.Bytes(), second.Bytes()) {
			t.Fatalf("%#v comes back as %#v (%v)", value, again, err)
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"__metadata__":{"k":"v"}} `, "abcd")
	f.Add(`{"net_g.a":{"dtype":"U8","shape":[2,1],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[0],"data_offsets":[2,2]}}`, "ab")
	f.Add(`{}`, "")
	var small bytes.Buffer
	state := mustSmall(f)
	if err := writeSafetensors(&small, map[string]*StateDict{"net_d": state, "": state}, map[string]string{"a": "b"}); err != nil {
		f.Fatal(err)
	}
	header := small.Bytes()[8:]
	end := bytes.LastIndexByte(header, '}') + 1
	f.Add(string(header[:end]), string(header[end:]))

	f.Fuzz(func(t *testing.T, header, data string) {
		tryRead(t, []byte(header))
		file := tensorsFile(header, data)
		tryRead(t, file)
		groups, metadata, err := readSafetensors(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeSafetensors(&out, groups, metadata); err != nil {
			t.Fatalf("%s cannot be written: %v", header, err)
		}
		again, _, err := readSafetensors(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatalf("%s cannot be read back: %v", header, err)
		}
		for name, group := range groups {
			if len(group.keys) != len(again[name].keys) {
				t.Fatalf("%s: group %q loses tensors", header, name)
			}
		}
	})
}

// mustSmall is a small state_dict of all element types.
func mustSmall(f *testing.F) *StateDict {
	file, err := Open(f.Context(), "testdata/torch_tensors.pth")
	if err != nil {
		f.Fatal(err)
	}
	return file.Groups[""]
}
