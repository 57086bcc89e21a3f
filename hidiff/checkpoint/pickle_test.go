package checkpoint

import (
	"archive/zip"
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dict makes a Dict of keys and values in turn.
func dict(pairs ...any) *Dict { return NewDict(pairs...) }

func TestLoadPickleValues(t *testing.T) {
	got, err := LoadPickle("testdata/torch_values.pth")
	require.NoError(t, err)
	shared := []any{int64(1), int64(2)}
	require.Equal(t, dict(
		"none", nil, "bools", []any{true, false}, "float", -1.5, "text", "grüße 🙂",
		"empty", []any{[]any{}, Tuple{}, NewDict()},
		"ints", []any{int64(0), int64(255), int64(256), int64(65535), int64(65536), int64(-1), int64(math.MaxInt32), int64(math.MinInt32),
			int64(1 << 31), int64(-1 << 40), int64(math.MaxInt64), int64(math.MinInt64)},
		"tuples", []any{Tuple{int64(1)}, Tuple{int64(1), int64(2)}, Tuple{int64(1), int64(2), int64(3)}, Tuple{int64(1), Tuple{int64(2), Tuple{int64(3), int64(4), "x"}}}},
		"size", Tuple{int64(2), int64(3)}, int64(7), "seven", int64(-1), dict(2.5, "two and a half", true, "yes", nil, "no"),
		"counter", dict(int64(500), int64(1), int64(900), int64(2)), "defaultdict", dict("a", []any{int64(1)}),
		"ordered", dict("b", int64(1), "a", NewArray([]int{1}, []float32{1})), "no tensors", NewStateDict(),
		"shared", []any{shared, shared, []any{shared}},
	), got)
}

func TestLoadPickleTensors(t *testing.T) {
	counting := make([]float64, 24)
	var permuted, thirds []float64
	for i := range counting {
		counting[i] = float64(i)
		if i%3 == 1 {
			thirds = append(thirds, float64(i))
		}
	}
	for k := range 4 { // view(2, 3, 4).permute(2, 0, 1)
		for i := range 2 {
			for j := range 3 {
				permuted = append(permuted, float64(12*i+4*j+k))
			}
		}
	}
	ints := []float64{-2, -1, 0, 1, 2, 3}
	mapped := func(f func(float64) float64) []float64 {
		out := make([]float64, len(ints))
		for i, v := range ints {
			out[i] = f(v)
		}
		return out
	}
	for _, file := range []string{"torch_tensors.pth", "torch_tensors_legacy.pth"} {
		weights := mustWeights(t, "testdata/"+file, "")
		for _, c := range []struct {
			key   string
			dtype DType
			shape []int
			want  []float64
		}{
			{"f16", F16, []int{6}, mapped(func(v float64) float64 { return float16.unpack(float16.pack(v / 3)) })},
			{"bf16", BF16, []int{6}, mapped(func(v float64) float64 { return bfloat16.unpack(bfloat16.pack(v / 3)) })},
			{"f32", F32, []int{6}, mapped(func(v float64) float64 { return float64(float32(v / 3)) })},
			{"f64", F64, []int{6}, mapped(func(v float64) float64 { return v / 3 })},
			{"i8", I8, []int{6}, ints},
			{"i16", I16, []int{6}, ints},
			{"i32", I32, []int{6}, ints},
			{"i64", I64, []int{6}, mapped(func(v float64) float64 { return v * (1 << 40) })},
			{"u8", U8, []int{6}, mapped(func(v float64) float64 { return v + 2 })},
			{"bool", BOOL, []int{6}, []float64{0, 0, 0, 1, 1, 1}},
			{"scalar", F32, []int{}, []float64{2.5}},
			{"empty", F32, []int{0, 3}, []float64{}},
			{"parameter", F32, []int{2}, []float64{1, 1}},
			{"whole", F32, []int{24}, counting},
			{"tail", F32, []int{4}, counting[20:]},
			{"transposed", F32, []int{4, 2, 3}, permuted},
			{"every third", F32, []int{8}, thirds},
			{"expanded", F32, []int{2, 3}, []float64{1, 1, 1, 2, 2, 2}},
		} {
			a, ok := weights.Get(c.key)
			require.True(t, ok, c.key)
			require.Equal(t, c.dtype, a.DType, c.key)
			require.Equal(t, c.shape, a.Shape, c.key)
			require.Equal(t, c.want, a.Float64s(), "%s: %s", file, c.key)
		}
	}
}

// TestBareStateDict has the attributes that Module.state_dict leaves behind.
func TestBareStateDict(t *testing.T) {
	file := mustOpen(t, "testdata/torch_model.pth")
	require.Equal(t, []string{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}, file.Groups[""].Keys())
}

func TestLoadPickleState(t *testing.T) {
	value, err := LoadPickle("testdata/torch_2.state")
	require.NoError(t, err)
	requireState(t, value, 2, 4)
	_, err = LoadPickle("testdata/absent.state")
	require.ErrorContains(t, err, "absent.state")
}

func TestLoadSharedState(t *testing.T) {
	path := filepath.Join(fixtures, "training", "resume", "3.state")
	if _, err := os.Stat(path); err != nil {
		t.Skip("no shared folder beside the repository")
	}
	value, err := LoadPickle(path)
	require.NoError(t, err)
	requireState(t, value, 3, 196)
	roundTrip(t, value)
}

// requireState checks the shape of a BasicSR training state.
func requireState(t *testing.T, value any, iter int64, parameters int) {
	t.Helper()
	state, ok := value.(*Dict)
	require.True(t, ok)
	require.Equal(t, []any{"epoch", "iter", "optimizers", "schedulers"}, state.Keys())
	got, _ := state.Get("iter")
	require.Equal(t, iter, got)
	optimizers, _ := state.Get("optimizers")
	optimizer := optimizers.([]any)[0].(*Dict)
	moments, _ := optimizer.Get("state")
	require.Equal(t, parameters, moments.(*Dict).Len())
	for i := range int64(parameters) {
		v, ok := moments.(*Dict).Get(i)
		require.True(t, ok, "parameter %d", i)
		require.Equal(t, []any{"step", "exp_avg", "exp_avg_sq"}, v.(*Dict).Keys())
		step, _ := v.(*Dict).Get("step")
		require.Equal(t, []float64{float64(iter)}, step.(*Array).Float64s())
	}
	groups, _ := optimizer.Get("param_groups")
	numbers, _ := groups.([]any)[0].(*Dict).Get("params")
	require.Len(t, numbers, parameters)
}

// archiveOf makes a zip file as torch.save lays it out, of any pickle.
func archiveOf(t testing.TB, pickle string, entries map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	add := func(name, content string) {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: "a/" + name, Method: zip.Store})
		require.NoError(t, err)
		_, err = entry.Write([]byte(content))
		require.NoError(t, err)
	}
	add("data.pkl", pickle)
	for _, name := range sortedKeys(entries) {
		add(name, entries[name])
	}
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// tensorPickle is {"w": tensor} over a float storage "0".
func tensorPickle(count, offset int64, shape, stride []int64) string {
	p := &pickler{memo: map[string]int{}}
	p.out.Write([]byte{opProto, 2, opEmptyDict})
	p.text("w")
	p.name("torch._utils", "_rebuild_tensor_v2")
	p.out.Write([]byte{opMark, opMark})
	p.text("storage")
	p.name("torch", "FloatStorage")
	p.text("0")
	p.text("cpu")
	p.integer(count)
	p.out.Write([]byte{opTuple, opBinPersID})
	p.integer(offset)
	for _, dims := range [][]int64{shape, stride} {
		p.out.WriteByte(opMark)
		for _, d := range dims {
			p.integer(d)
		}
		p.out.WriteByte(opTuple)
	}
	p.boolean(false)
	p.orderedDict()
	p.out.Write([]byte{opTuple, opReduce, opSetItem, opStop})
	return p.out.String()
}

func readBytes(data []byte) (*File, error) {
	return Read(bytes.NewReader(data), int64(len(data)), "hostile.pth")
}

func TestStridedBounds(t *testing.T) {
	const most = math.MaxInt64
	type dims = []int64
	sixFloats := map[string]string{"data/0": strings.Repeat("\x00\x00\x80\x3f", 6)}
	for _, c := range []struct {
		name          string
		count, offset int64
		shape, stride dims
		want          string // error; empty means it can be read
	}{
		{"dense", 6, 0, dims{2, 3}, dims{3, 1}, ""},
		{"transposed", 6, 0, dims{3, 2}, dims{1, 3}, ""},
		{"last element", 6, 5, dims{1}, dims{1}, ""},
		{"any stride of a dimension of one", 6, 0, dims{1, 6}, dims{most, 1}, ""},
		{"nothing anywhere", 6, 99, dims{0, 5}, dims{1, 1}, ""},
		{"expanded", 6, 0, dims{1000}, dims{0}, ""},
		{"offset past the end", 6, 6, dims{1}, dims{1}, "reaches past its storage"},
		{"huge offset", 6, most, dims{2}, dims{1}, "reaches past its storage"},
		{"one too long", 6, 0, dims{7}, dims{1}, "reaches past its storage"},
		{"one too far", 6, 1, dims{2, 3}, dims{3, 1}, "reaches past its storage"},
		{"overflowing stride", 6, 0, dims{3, 3}, dims{most, most}, "reaches past its storage"},
		{"wrapping stride", 6, 0, dims{5}, dims{1 << 62}, "reaches past its storage"},
		{"impossible shape", 6, 0, dims{1 << 40, 1 << 40}, dims{0, 0}, "impossible shape"},
		{"bomb", 6, 0, dims{1 << 30}, dims{0}, "far larger than the file"},
		{"negative offset", 6, -1, dims{1}, dims{1}, "unexpected arguments"},
		{"negative dimension", 6, 0, dims{-1}, dims{1}, "unexpected arguments"},
		{"negative stride", 6, 5, dims{2}, dims{-1}, "unexpected arguments"},
		{"ranks differ", 6, 0, dims{2, 3}, dims{1}, "unexpected arguments"},
		{"storage smaller than said", 7, 0, dims{7}, dims{1}, "24 bytes instead of 7 elements"},
		{"storage larger than said", 5, 0, dims{5}, dims{1}, "24 bytes instead of 5 elements"},
		{"negative storage", -1, 0, dims{1}, dims{1}, "impossible size"},
		{"overflowing storage", 1<<62 + 6, 0, dims{1}, dims{1}, "impossible size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, err := readBytes(archiveOf(t, tensorPickle(c.count, c.offset, c.shape, c.stride), sixFloats))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			a, _ := file.Groups[""].Get("w")
			for _, v := range a.Float32s() {
				require.Equal(t, float32(1), v)
			}
		})
	}
}

func TestHostilePickles(t *testing.T) {
	laughs := "\x80\x02]q\x00"
	for i := range 40 { // each list holds the one before it three times
		laughs += "](" + strings.Repeat("h"+string(rune(i)), 3) + "eq" + string(rune(i+1))
	}
	for _, c := range []struct{ name, pickle, want string }{
		{"system", "\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", `holds no state_dict, but what "os.system" makes`},
		{"eval", "\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.", `but what "__builtin__.eval" makes`},
		{"named only", "\x80\x02cos\nsystem\n.", `but what "os.system" makes`},
		{"calls a number", "\x80\x02K\x05)R.", "a call without constructor"},
		{"calls with a number", "\x80\x02cos\nsystem\nK\x05R.", "a call without arguments"},
		{"long integer cut", "\x80\x02\x8b\xff\xff\xff\xff1.", "the file ends early"},
		{"near a known name", "\x80\x02ctorch\n_utils._rebuild_tensor\n.", `but what "torch._utils._rebuild_tensor" makes`},
		{"control characters", "\x80\x02c\x1b[2Jos\nsystem\n.", `but what "\x1b[2Jos.system" makes`},
		{"calls a type", "\x80\x02c__builtin__\ndict\n)R.", `but what "__builtin__.dict" makes`},
		{"calls a storage", "\x80\x02ctorch\nFloatStorage\nK\x05\x85R.", `but what "torch.FloatStorage" makes`},
		{"class as value", "\x80\x02}X\x01\x00\x00\x00aN" + "sctorch\nSize\n.", `but what "torch.Size" makes`},
		{"old protocol", "(dp0\n.", "unknown pickle opcode 0x64"},
		{"new protocol", "\x80\x04\x95\x00.", "pickle protocol 4 is not supported"},
		{"empty", "", "the file ends early"},
		{"nothing to return", "\x80\x02.", "a value is missing"},
		{"stack underflow", "\x80\x02\x86.", "a value is missing"},
		{"underflow across a mark", "\x80\x02K\x01(\x85.", "a value is missing"},
		{"no mark", "\x80\x02]e.", "a value is missing"},
		{"odd dict", "\x80\x02}(Nu.", "items without their list or dict"},
		{"append to a tuple", "\x80\x02)Na.", "items without their list or dict"},
		{"list as key", "\x80\x02}]Ns.", "neither a number nor a string"},
		{"NaN as key", "\x80\x02}G\x7f\xf8\x00\x00\x00\x00\x00\x00Ns.", "neither a number nor a string"},
		{"unknown memo", "\x80\x02j\xff\xff\xff\xff.", "nothing was stored as 4294967295"},
		{"memo of nothing", "\x80\x02q\x00.", "a value is missing"},
		{"long string", "\x80\x02X\xff\xff\xff\xffabc.", "the file ends early"},
		{"not UTF-8", "\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"},
		{"large integer", "\x80\x02\x8a\x09123456789.", `but what "int" makes`},
		{"strange reference", "\x80\x02NQ.", "a reference that is no storage"},
		{"storage of nothing", "\x80\x02(X\x07\x00\x00\x00storageNNNNtQ.", "a storage without type"},
		{"attributes", "\x80\x02}}b.", "attributes on something that has none"},
		{"list in itself", "\x80\x02]q\x00h\x00a.", "a value contains itself"},
		{"dict in itself", "\x80\x02}q\x00K\x01h\x00s.", "a value contains itself"},
		{"deep", "\x80\x02" + strings.Repeat("]", 5000) + strings.Repeat("a", 4999) + ".", "nested deeper than 100"},
		{"deep by sharing", "\x80\x02" + sharedDepth() + ".", "nested deeper than 100"},
		{"billion laughs", laughs + ".", "unfolds to too many values"},
		{"a number", "\x80\x02K\x05.", "not a state_dict"},
		{"no weights", "\x80\x02}X\x01\x00\x00\x00aK\x01s.", `holds no weights (a training state?): its keys are "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(archiveOf(t, c.pickle, nil))
			require.ErrorContains(t, err, "hostile.pth: ")
			require.ErrorContains(t, err, c.want)
		})
	}
}

// sharedDepth nests lists deeper than allowed, though each is resolved at a
// shallow place first: [l0, [l0] = l1, [l1] = l2, ...].
func sharedDepth() string {
	s := "]]q\x00a"
	for i := range 120 {
		s += "]h" + string([]byte{byte(i)}) + "aq" + string([]byte{byte(i + 1)}) + "a"
	}
	return s
}

func TestHostileArchives(t *testing.T) {
	one := tensorPickle(1, 0, []int64{1}, []int64{1})
	good := archiveOf(t, one, map[string]string{"data/0": "abcd"})
	_, err := readBytes(good)
	require.NoError(t, err)

	// build lays out entries by hand.
	build := func(add func(w *zip.Writer)) []byte {
		var buf bytes.Buffer
		w := zip.NewWriter(&buf)
		add(w)
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	entry := func(w *zip.Writer, name string, method uint16, content string) {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		require.NoError(t, err)
		_, err = e.Write([]byte(content))
		require.NoError(t, err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"storage missing", archiveOf(t, one, nil), `"a/data/0" is missing`},
		{"big endian", archiveOf(t, one, map[string]string{"data/0": "abcd", "byteorder": "big"}), "big-endian"},
		{"TorchScript", archiveOf(t, one, map[string]string{"constants.pkl": ""}), "TorchScript"},
		{"no pickle", build(func(w *zip.Writer) { entry(w, "photo.png", zip.Store, "x") }), "without data.pkl"},
		{"compressed", build(func(w *zip.Writer) { entry(w, "a/data.pkl", zip.Deflate, strings.Repeat("N", 1<<20)) }), "compressed"},
		{"two pickles", build(func(w *zip.Writer) {
			entry(w, "a/data.pkl", zip.Store, one)
			entry(w, "b/data.pkl", zip.Store, one)
		}), "data.pkl twice"},
		{"same name twice", build(func(w *zip.Writer) {
			entry(w, "a/data/0", zip.Store, one)
			entry(w, "a/data/0", zip.Store, one)
		}), "two entries"},
		{"size of a bomb", build(func(w *zip.Writer) {
			_, err := w.CreateRaw(&zip.FileHeader{Name: "a/data.pkl", UncompressedSize64: 1 << 40, CompressedSize64: 1 << 40})
			require.NoError(t, err)
		}), "claims more bytes than the file has"},
		{"damaged", bytes.Replace(good, []byte("abcd"), []byte("abce"), 1), "checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes(c.data)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestHostileLegacy(t *testing.T) {
	const protocol, system = "\x80\x02M\xe9\x03.", "\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."
	one := tensorPickle(1, 0, []int64{1}, []int64{1})
	const keys, count, value = "\x80\x02]X\x01\x00\x00\x000a.", "\x01\x00\x00\x00\x00\x00\x00\x00", "abcd"
	_, err := readBytes([]byte(string(legacyMagic) + protocol + system + one + keys + count + value))
	require.NoError(t, err)
	for _, c := range []struct{ name, data, want string }{
		{"protocol", "\x80\x02K\x07.", "unknown version 7"},
		{"big endian", protocol + strings.Replace(system, "\x88", "\x89", 1), "big-endian"},
		{"system", protocol + "\x80\x02N.", "no description"},
		{"keys", protocol + system + one + "\x80\x02N.", "no list of storages"},
		{"no keys", protocol + system + one + "\x80\x02].", "1 of 1 storages are missing"},
		{"unknown key", protocol + system + one + "\x80\x02]K\x01a.", `storage "1" is unknown`},
		{"key twice", protocol + system + one + "\x80\x02](X\x01\x00\x00\x000q\x00h\x00e." + count + value, "there twice"},
		{"count", protocol + system + one + keys + "\xff\xff\xff\xff\xff\xff\xff\x7f", "elements instead of 1"},
		{"data", protocol + system + one + keys + count + "abc", "the file ends early"},
		{"no count", protocol + system + one + keys, `storage "0" is missing`},
		{"system call", protocol + system + "\x80\x02cos\nsystem\n." + "\x80\x02].", `but what "os.system" makes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readBytes([]byte(string(legacyMagic) + c.data))
			require.ErrorContains(t, err, c.want)
		})
	}
}
