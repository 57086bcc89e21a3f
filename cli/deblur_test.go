package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
)

func TestDeblurFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	pictures := map[string]*photo.Photo{"a.png": picture(7, 5), "deep/b.png": picture(1, 1), "deep/er/c.tif": picture(20, 30)}
	for name, p := range pictures {
		write(t, filepath.Join("in", name), p)
	}
	got := deblurFake(t, &fakeEngine{}, "in", "-r", "-o", "out")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Empty(t, got.stdout)
	for name, p := range pictures {
		isNegative(t, filepath.Join("out", name), p)
	}
	require.ElementsMatch(t, []string{"a.png", "deep/b.png", "deep/er/c.tif"}, files(t, "out"))
	log := lines(filepath.ToSlash(got.stderr))
	require.Regexp(t, `^\[1/3\] in/a.png → out/a.png \(7×5, \d+\.\d s\)$`, log[0])
	require.Equal(t, "restored 3 of 3 photos", log[3])
}

func TestDeblurSkipExisting(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/a.png", picture(4, 4))
	write(t, "in/b.png", picture(4, 4))
	writeText(t, "out/a.png", "from before")
	got := deblurFake(t, &fakeEngine{}, "in", "-o", "out", "--skip-existing")
	require.Equal(t, exitOK, got.code)
	require.Contains(t, filepath.ToSlash(got.stderr), "[1/2] in/a.png: skipped, out/a.png exists\n")
	require.Contains(t, got.stderr, "restored 1 of 2 photos, 1 skipped\n")
	before, err := os.ReadFile("out/a.png")
	require.NoError(t, err)
	require.Equal(t, "from before", string(before))

	got = deblurFake(t, nil, "in", "-o", "out", "--skip-existing") // nothing left: no GPU
	require.Equal(t, exitOK, got.code)
	require.Contains(t, got.stderr, "restored 0 of 2 photos, 2 skipped\n")

	require.Zero(t, deblurFake(t, &fakeEngine{}, "in", "-o", "out").code) // without the option
	isNegative(t, "out/a.png", picture(4, 4))
}

// TestDeblurBadPhotos puts every kind of bad photo among good ones.
func TestDeblurBadPhotos(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/good1.png", picture(9, 9))
	write(t, "in/good2.jpg", picture(9, 9))
	write(t, "in/truncated.png", picture(90, 90))
	whole, err := os.ReadFile("in/truncated.png")
	require.NoError(t, err)
	writeText(t, "in/truncated.png", string(whole[:len(whole)-len(whole)/4]))
	writeText(t, "in/text.jpg", "this is no photo")
	writeText(t, "in/zero.png", "")
	require.NoError(t, os.Mkdir("in/folder.png", 0o777))

	got := deblurFake(t, &fakeEngine{}, "in", "in/missing.png", "-o", "out")
	require.Equal(t, exitFailed, got.code)
	require.ElementsMatch(t, []string{"good1.png", "good2.jpg"}, files(t, "out"))
	log := filepath.ToSlash(got.stderr)
	for _, want := range []string{
		"error: in/missing.png: there is no such file or folder\n", "error: in/text.jpg: not a PNG, JPEG",
		"error: in/zero.png: the file is empty\n", "error: in/truncated.png: ", "restored 2 of 6 photos, 4 failed\n",
	} {
		require.Contains(t, log, want)
	}
	require.Len(t, lines(log), 7)

	got = deblurFake(t, nil, "in/zero.png") // nothing but bad ones: no GPU
	require.Equal(t, exitFailed, got.code)
	require.Len(t, lines(got.stderr), 1)
}

func TestDeblurEngineErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"in/a.png", "in/b.png", "in/c.png"} {
		write(t, name, picture(4, 4))
	}
	calls := 0
	engine := &fakeEngine{restore: func(context.Context, *photo.Photo) error {
		if calls++; calls == 2 {
			return errors.New("the GPU is tired")
		}
		return nil
	}}
	got := deblurFake(t, engine, "in", "-o", "out")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, filepath.ToSlash(got.stderr), "error: in/b.png: the GPU is tired\n")
	require.Equal(t, []string{"a.png", "c.png"}, files(t, "out"))
}

// TestDeblurUnwritable holds outputs that cannot be written to being found out before the GPU is opened, by --plan, too.
func TestDeblurUnwritable(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.png", picture(4, 4))
	write(t, "wide.png", picture(16384, 1))
	write(t, "widest.png", picture(1, 65536))
	writeText(t, "file", "")
	require.NoError(t, os.MkdirAll("out/a.png", 0o777))
	long := strings.Repeat("x", 252) + ".png"
	cases := map[string]string{
		"a.png -o file/x/":         "cannot write: not a directory",
		"a.png -o file/x.png":      "cannot write: not a directory",
		"a.png -o out":             "cannot write: this is a folder",
		"a.png -o " + long:         "choose a shorter name",
		"a.png -o new/" + long:     "choose a shorter name",
		"a.png -o " + long + "/":   "choose a shorter name",
		"a.png --suffix " + long:   "choose a shorter name",
		"wide.png -o x.webp":       "16384×1 pixels do not fit the format webp, whose sides end at 16383; write PNG or TIFF",
		"wide.png -f webp -o new/": "16384×1 pixels",
		"widest.png -o x.JPG":      "1×65536 pixels do not fit the format jpeg, whose sides end at 65535",
		"widest.png -f webp -o -":  "1×65536 pixels",
		"- -o x.webp":              "standard input: 16384×1 pixels",
		"- -f webp":                "standard input: 16384×1 pixels",
	}
	if runtime.GOOS != "windows" && os.Geteuid() != 0 {
		require.NoError(t, os.Mkdir("readonly", 0o555))
		cases["a.png -o readonly/x.png"] = "cannot write: permission denied"
		cases["a.png -o readonly/new/x.png"] = "cannot write: permission denied"
	}
	before := files(t, ".")
	wide, err := os.ReadFile("wide.png")
	require.NoError(t, err)
	for args, want := range cases {
		for _, plan := range []string{"", " --plan"} {
			got := runFake(t, t.Context(), nil, wide, strings.Fields("deblur -m "+tiny+" "+args+plan)...)
			require.Equal(t, exitFailed, got.code, args)
			require.Contains(t, got.stderr, want)
			require.Contains(t, got.stderr, strings.TrimSuffix(strings.Fields(args)[0], "-"))
		}
	}
	require.Equal(t, before, files(t, "."))
}

// TestDeblurLongestNames: every name that the file system allows can be written, over itself, too.
func TestDeblurLongestNames(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "wide.png", picture(16383, 1))
	for _, name := range []string{strings.Repeat("x", 250) + ".webp", strings.Repeat("é", 125) + ".webp"} {
		for range 2 {
			got := deblurFake(t, &fakeEngine{}, "wide.png", "-o", name)
			require.Equal(t, exitOK, got.code, got.stderr)
		}
		require.FileExists(t, name)
	}
	require.Len(t, files(t, "."), 3)
}

// TestDeblurClashes: photos whose results would be one file, or an input, fail alone.
func TestDeblurClashes(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"in/a.jpg", "in/b.png", "in/b.tif", "in/c.png", "more/c.png", "more/d.png"} {
		write(t, path, picture(4, 4))
	}
	got := deblurFake(t, &fakeEngine{}, "in", "more", "-f", "png", "-o", "out")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "in/b.png and in/b.tif would both become out/b.png")
	require.Contains(t, got.stderr, "in/c.png and more/c.png would both become out/c.png")
	require.Contains(t, got.stderr, "restored 4 of 6 photos, 2 failed\n")
	require.Equal(t, []string{"a.png", "b.png", "c.png", "d.png"}, files(t, "out"))

	got = deblurFake(t, &fakeEngine{}, "in", "-f", "png", "-o", "in") // all but a.jpg onto inputs
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.stderr, "in/b.tif: the result would overwrite the input in/b.png")
	require.Contains(t, got.stderr, "restored 1 of 4 photos, 3 failed\n")
	require.Equal(t, []string{"a.jpg", "a.png", "b.png", "b.tif", "c.png"}, files(t, "in"))
}

func TestDeblurPipes(t *testing.T) {
	t.Chdir(t.TempDir())
	p := picture(6, 3)
	for format, wantFormat := range map[photo.Format]photo.Format{photo.PNG: photo.PNG, photo.TIFF: photo.TIFF, photo.BMP: photo.PNG} {
		in, err := photo.Encode(p, photo.EncodeOptions{Format: format})
		require.NoError(t, err)
		got := runFake(t, t.Context(), &fakeEngine{}, in, "deblur", "-", "-m", tiny)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stderr, "standard input → standard output (6×3, ")
		out, err := photo.Decode([]byte(got.stdout), "stdout")
		require.NoError(t, err)
		require.Equal(t, wantFormat, out.Format)
		require.Equal(t, uint16(255)-p.Pix[1], out.Pix[1])
	}
	in, err := photo.Encode(p, photo.EncodeOptions{Format: photo.PNG})
	require.NoError(t, err)

	got := runFake(t, t.Context(), &fakeEngine{}, in, "deblur", "-i", "-", "-o", "-", "-f", "webp", "--json", "-m", tiny)
	require.Equal(t, exitOK, got.code)
	out, err := photo.Decode([]byte(got.stdout), "stdout")
	require.NoError(t, err)
	require.Equal(t, photo.WebP, out.Format)
	require.Contains(t, got.stderr, `"event":"done"`) // as photos go to stdout

	write(t, "b.jpg", picture(5, 4))
	got = runFake(t, t.Context(), &fakeEngine{}, in, "deblur", "-", "b.jpg", "--json", "-m", tiny)
	require.Equal(t, exitOK, got.code, got.stderr)
	encoded, err := photo.Encode(out, photo.EncodeOptions{Format: photo.PNG})
	require.NoError(t, err)
	require.Equal(t, string(encoded), got.stdout, "the photo, and nothing else")
	require.Contains(t, got.stderr, `"restored":2`)
	require.FileExists(t, "b_deblurred.jpg")

	require.Zero(t, runFake(t, t.Context(), &fakeEngine{}, in, "deblur", "-", "-o", "x.png", "-m", tiny).code)
	isNegative(t, "x.png", p)

	got = runFake(t, t.Context(), nil, nil, "deblur", "-", "-m", tiny)
	require.Equal(t, exitFailed, got.code)
	require.Equal(t, "error: standard input: it is empty\n", got.stderr)
	require.Empty(t, got.stdout)
}

func TestDeblurJSON(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/a.png", picture(4, 2))
	writeText(t, "in/b.png", "")
	got := deblurFake(t, &fakeEngine{}, "in", "-o", "out", "--json")
	require.Equal(t, exitFailed, got.code)
	require.Empty(t, got.stderr)
	var names []string
	for _, line := range lines(got.stdout) {
		var e map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		names = append(names, e["event"].(string))
		switch e["event"] {
		case "done":
			require.Equal(t, filepath.Join("out", "a.png"), e["output"])
			require.Equal(t, 4.0, e["width"])
		case "error":
			require.Contains(t, e["error"], "the file is empty")
		case "summary":
			require.Equal(t, [3]any{1.0, 1.0, 0.0}, [3]any{e["restored"], e["failed"], e["skipped"]})
		}
	}
	require.Equal(t, []string{"error", "start", "progress", "progress", "done", "summary"}, names)
}

func TestDeblurPlan(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/a.png", picture(40, 20))
	got := deblurFake(t, &fakeEngine{}, "in", "-o", "out", "--plan")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, "in/a.png: 40×20, exact, in up to 3 bands, feature maps in host memory; "+
		"GPU memory: 3.0 MiB of 4.0 MiB at most, 1.0 MiB of it weights; 42 dispatches\n", filepath.ToSlash(got.stdout))
	require.NoDirExists(t, "out")

	write(t, "in/wide.png", picture(101, 1)) // which the fake refuses
	got = deblurFake(t, &fakeEngine{}, "in", "-t", "64", "--plan", "--json")
	require.Equal(t, exitFailed, got.code)
	var plan planLine
	require.NoError(t, json.Unmarshal([]byte(lines(got.stdout)[0]), &plan))
	require.Equal(t, planLine{Input: filepath.Join("in", "a.png"), Width: 40, Height: 20, Bands: 3, Offload: true,
		Peak: 3 << 20, Weights: 1 << 20, Budget: 4 << 20, Dispatches: 42}, plan)
	require.Contains(t, lines(got.stdout)[1], "short buffer")
}

func TestDeblurWarnsOfLosses(t *testing.T) {
	t.Chdir(t.TempDir())
	p := picture(3, 3)
	p.Alpha = make([]uint16, 9)
	write(t, "alpha.png", p)
	deep := picture(3, 3)
	deep.Max = 65535
	write(t, "deep.png", deep)
	for _, c := range []struct{ in, out, want string }{
		{"alpha.png", "a.jpg", "warning: alpha.png: transparency is lost in jpeg: -f png keeps everything\n"},
		{"deep.png", "b.jpg", "warning: deep.png: 16 bits a sample are lost in jpeg: -f png keeps everything\n"},
		{"deep.png", "c.webp", "16 bits a sample are lost in webp"},
		{"alpha.png", "d.webp", ""},
		{"deep.png", "e.tif", ""},
	} {
		got := deblurFake(t, &fakeEngine{}, c.in, "-o", c.out)
		require.Equal(t, exitOK, got.code)
		require.Contains(t, got.stderr, c.want)
		require.Equal(t, c.want != "", strings.Contains(got.stderr, "warning"), got.stderr)
	}
}

// What a photo of four inks or of several pages cannot be, in every way that a photo comes in.
func TestDeblurOfInksAndPages(t *testing.T) {
	testdata, err := filepath.Abs("../hidiff/photo/testdata")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	inks, err := os.ReadFile(filepath.Join(testdata, "icc-cmyk.jpg"))
	require.NoError(t, err)
	writeText(t, "sound.jpg", string(inks))
	writeText(t, "broken.jpg", strings.Replace(string(inks), "CMYKLab ", "CMYKLuv ", 1))
	const warning = "warning: broken.jpg: the ICC profile of its inks cannot be read, so colours will be off: convert it to sRGB first\n"
	got := deblurFake(t, &fakeEngine{}, "broken.jpg", "sound.jpg", "-o", "out")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, 1, strings.Count(got.stderr, "warning"), got.stderr)
	require.Contains(t, got.stderr, warning)
	got = deblurFake(t, &fakeEngine{}, "broken.jpg", "-o", "out.png", "--json")
	require.Contains(t, got.stdout, `"event":"warning","input":"broken.jpg"`)

	pages, err := os.ReadFile(filepath.Join(testdata, "pages.tif"))
	require.NoError(t, err)
	writeText(t, "in/pages.tif", string(pages))
	for _, args := range [][]string{{"deblur", "in/pages.tif", "-o", "x.tif"}, {"deblur", "-", "-o", "x.png"}, {"deblur", "in", "-o", "x", "--plan"}, {"synth", "in", "-o", "x"}} {
		got := runFake(t, t.Context(), nil, pages, args...)
		require.Equal(t, exitFailed, got.code)
		require.Contains(t, got.stderr, ": a TIFF of several pages; save each page as a file of its own first\n")
		require.NotContains(t, files(t, "."), "x")
	}
}

func TestDeblurPutsTransparencyOnBackground(t *testing.T) {
	t.Chdir(t.TempDir())
	p := picture(16, 16)
	p.Alpha = make([]uint16, 16*16)
	write(t, "a.png", p)
	for _, c := range []struct {
		args []string
		want uint16
	}{{nil, 255}, {[]string{"--background", "#000000"}, 0}} {
		require.Equal(t, exitOK, deblurFake(t, &fakeEngine{}, append([]string{"a.png", "-o", "a.jpg"}, c.args...)...).code)
		q, err := photo.Open("a.jpg")
		require.NoError(t, err)
		require.Equal(t, c.want, q.Pix[0])
	}
}

// TestDeblurNamesLostMetadata covers what is known only when the photo is read: a JPEG that something follows.
func TestDeblurNamesLostMetadata(t *testing.T) {
	t.Chdir(t.TempDir())
	p := picture(3, 3)
	p.Meta.XMP = []byte("<x/>")
	write(t, "plain.jpg", p)
	data, err := os.ReadFile("plain.jpg")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("a.jpg", append(data, "trailer"...), 0o666))
	got := deblurFake(t, &fakeEngine{}, "a.jpg", "-o", "b.bmp")
	require.Equal(t, exitOK, got.code)
	require.Contains(t, got.stderr, "warning: a.jpg: not kept in bmp: data behind the picture, XMP\n")
	got = deblurFake(t, &fakeEngine{}, "a.jpg", "-o", "c.jpg", "--json")
	require.Contains(t, got.stdout, `"event":"warning","input":"a.jpg","output":"c.jpg","width":3,"height":3,"message":"a.jpg: not kept in jpeg: data behind the picture"`)
	got = deblurFake(t, &fakeEngine{}, "a.jpg", "-o", "d.bmp", "--strip")
	require.NotContains(t, got.stderr, "warning")
	got = deblurFake(t, &fakeEngine{}, "plain.jpg", "-o", "e.png")
	require.NotContains(t, got.stderr, "warning")
}

// TestDeblurInterrupted cancels in the middle of the second photo.
func TestDeblurInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"in/a.png", "in/b.png", "in/c.png"} {
		write(t, name, picture(4, 4))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	engine := &fakeEngine{}
	engine.restore = func(ctx context.Context, _ *photo.Photo) error {
		if len(engine.names) < 2 {
			return nil
		}
		for len(files(t, "out")) == 0 { // the first photo is on its way to the disk
			runtime.Gosched()
		}
		cancel()
		return ctx.Err()
	}
	got := runFake(t, ctx, engine, nil, "deblur", "in", "-o", "out", "-j", "1", "-m", tiny)
	require.Equal(t, exitInterrupted, got.code)
	require.Contains(t, got.stderr, "hidiff: interrupted\n")
	require.NotContains(t, got.stderr, "error")
	for _, name := range files(t, "out") {
		require.Equal(t, "a.png", name)
	}

	got = runFake(t, ctx, nil, nil, "deblur", "in", "-o", "new", "-m", tiny) // cancelled before it began
	require.Equal(t, exitInterrupted, got.code)
	require.NoDirExists(t, "new")
}

// TestPlanInterrupted cancels while the first photo is planned: the others are not.
func TestPlanInterrupted(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/a.png", picture(4, 4))
	write(t, "in/b.png", picture(4, 4))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	planned := 0
	engine := &fakeEngine{plan: func(ctx context.Context) error {
		planned++
		cancel()
		return ctx.Err()
	}}
	got := runFake(t, ctx, engine, nil, "deblur", "in", "--plan", "-m", tiny)
	require.Equal(t, result{exitInterrupted, "", "hidiff: interrupted\n"}, got)
	require.Equal(t, 1, planned)
}

// TestDeblurInterruptedPipe cancels while standard input is awaited.
func TestDeblurInterruptedPipe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer writer.Close() // ends the read
	var stdout, stderr bytes.Buffer
	done := make(chan int)
	go func() { done <- Execute(ctx, []string{"deblur", "-", "-m", tiny}, reader, &stdout, &stderr) }()
	cancel()
	require.Equal(t, exitInterrupted, <-done)
	require.Empty(t, stdout.String())
}

// TestDeblurManyWorkers is for the race detector, and for deadlocks.
func TestDeblurManyWorkers(t *testing.T) {
	t.Chdir(t.TempDir())
	for i := range 30 {
		write(t, filepath.Join("in", string(rune('a'+i%26))+strings.Repeat("x", i/26)+".png"), picture(5, 5))
	}
	got := runFake(t, t.Context(), &fakeEngine{}, nil, "deblur", "in", "-o", "out", "-j", "4", "-m", tiny)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Len(t, files(t, "out"), 30)
	require.Len(t, lines(got.stderr), 31)
}

func TestProgressBar(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "in/a.png", picture(4, 4))
	writeText(t, "in/b.png", "")
	write(t, "in/c.png", picture(4, 4))
	var stdout, screen bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &messages{w: &screen}, screen: &screen}
	p := &pipeline{
		engine: &fakeEngine{}, options: (&deblurOptions{}).restoring, workers: workers{1, 1}, stdout: &stdout,
	}
	o := &deblurOptions{Inputs: []string{"in"}, Output: "out"}
	jobs, passedOver, err := o.jobs()
	require.NoError(t, err)
	require.NoError(t, o.preflight(t.Context(), a.stdin, jobs))
	p.report = a.newReport(o, jobs, passedOver)
	require.ErrorIs(t, p.run(t.Context(), jobs), errReported)
	require.Equal(t, int64(32), p.report.to.(*console).pixels)
	text := screen.String()
	for _, want := range []string{"[2/3] ", "[3/3] ", "error: ", "restored 2 of 3 photos, 1 failed\n"} {
		require.Contains(t, text, want)
	}
}

// TestDeblurLongHeader has more metadata before the size than is first read of a file.
func TestDeblurLongHeader(t *testing.T) {
	t.Chdir(t.TempDir())
	p := picture(8, 8)
	p.Meta.ICC = make([]byte, 600<<10)
	copy(p.Meta.ICC[16:], "RGB ")
	write(t, "a.jpg", p)
	got := deblurFake(t, &fakeEngine{}, "a.jpg", "-o", "b.jpg")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "(8×8, ")
	q, err := photo.Open("b.jpg")
	require.NoError(t, err)
	require.Equal(t, p.Meta.ICC, q.Meta.ICC)

	require.Zero(t, deblurFake(t, &fakeEngine{}, "a.jpg", "-o", "c.jpg", "--strip").code)
	q, err = photo.Open("c.jpg")
	require.NoError(t, err)
	require.Empty(t, q.Meta.ICC)
}
