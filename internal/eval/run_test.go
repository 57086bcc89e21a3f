package eval

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// TestRestored holds a run that restores to the scores of one whose photos came restored, and to what it saves.
func TestRestored(t *testing.T) {
	a := realPhotos(t)
	want := scored(t, "GoPro", a, fast())
	unrestored, restore := a.unrestored()
	unrestored[2].name = "deep/er/02" // names are paths
	a[2].name = "deep/er/02"
	unrestored, restore = a.unrestored()
	d := &Dataset{Name: "GoPro", Folder: filepath.Join(t.TempDir(), "visualization"), Suffix: "_mine", Protocols: fast()}
	var busy atomic.Int32
	calls := 0
	require.NoError(t, d.Run(t.Context(), unrestored, Options{
		Restore: func(ctx context.Context, p Photos, seed uint64) (*photo.Photo, error) {
			require.EqualValues(t, 1, busy.Add(1), "a GPU restores one photo at a time")
			defer busy.Add(-1)
			return restore(ctx, p, seed)
		},
		Done: func(m *Image) {
			calls++
			require.Contains(t, d.Images, m)
		},
	}))
	require.Equal(t, 4, calls)
	for i, m := range d.Images {
		require.Equal(t, a[i].name, m.Name)
		require.True(t, m.Saved)
		require.Positive(t, m.Seconds)
		require.Equal(t, want.Images[i].Scores, m.Scores)
		require.Equal(t, [2]int{a[i].Target.Width, a[i].Target.Height}, [2]int{m.Width, m.Height})
		saved, err := photo.Open(filepath.Join(d.Folder, filepath.FromSlash(m.Name)+"_mine.png"))
		require.NoError(t, err)
		require.Equal(t, a[i].Restored.Pix, saved.Pix)
	}
	require.FileExists(t, filepath.Join(d.Folder, "deep", "er", "02_mine.png"))
}

// TestDepthAndGrey scores pairs of 16 bits and grey ones by their 8-bit values, and keeps their kind.
func TestDepthAndGrey(t *testing.T) {
	deep, grey := texture(40, 30, 3, 65535), texture(30, 40, 1, 255)
	a := album{{name: "deep", Photos: Photos{Input: smear(deep), Target: deep}}, {name: "grey", Photos: Photos{Input: smear(grey), Target: grey}}}
	d := &Dataset{Folder: t.TempDir(), Protocols: fast()}
	restore := func(_ context.Context, p Photos, _ uint64) (*photo.Photo, error) { return smear(p.Input), nil }
	require.NoError(t, d.Run(t.Context(), a, Options{Restore: restore}))
	for i, m := range d.Images {
		require.False(t, m.Failed(), m.Error)
		saved, err := photo.Open(d.File(m.Name))
		require.NoError(t, err)
		require.Equal(t, a[i].Target.Max, saved.Max)
		require.Equal(t, a[i].Target.Channels, saved.Channels)
		psnr, err := metrics.PSNR(*eightBits(saved), *eightBits(a[i].Target), metrics.Options{})
		require.NoError(t, err)
		same(t, Number(psnr), m.Scores[BasicSR].PSNR[0], m.Name)
	}
}

// TestGreyBesideColour has grey beside colour read as R = G = B, as BasicSR reads it. MATLAB and RealBlur's programs do not
// compare it. What is restored is of the target's kind, or better.
func TestGreyBesideColour(t *testing.T) {
	colour, deep := texture(32, 24, 3, 255), texture(32, 24, 3, 65535)
	grey, deepGrey := texture(32, 24, 1, 255), texture(32, 24, 1, 65535)
	a := album{
		{name: "grey input", Photos: Photos{Input: grey, Target: colour}},
		{name: "deep grey input", Photos: Photos{Input: deepGrey, Target: deep}},
		{name: "grey target", Photos: Photos{Input: colour, Target: grey}},
		{name: "deep grey target", Photos: Photos{Input: deep, Target: deepGrey}},
	}
	d := &Dataset{Folder: t.TempDir(), Protocols: []Scorer{
		{Protocol: BasicSR, PSNR: metrics.Options{YChannel: true}}, {Protocol: Matlab}, {Protocol: RealBlur},
	}}
	require.NoError(t, d.Choose(t.Context(), a, []Method{Unsharp}, func(int, int) {}))
	restore := func(_ context.Context, p Photos, _ uint64) (*photo.Photo, error) {
		require.Equal(t, 3, p.Input.Channels, p.File)
		return smear(p.Input), nil
	}
	require.NoError(t, d.Run(t.Context(), a, Options{Restore: restore}))
	for i, m := range d.Images {
		require.Empty(t, m.Error)
		saved, err := photo.Open(d.File(m.Name))
		require.NoError(t, err)
		require.Equal(t, smear(coloured(a[i].Input)).Pix, saved.Pix)
		input, target, result := *eightBits(coloured(a[i].Input)), *eightBits(coloured(a[i].Target)), *eightBits(saved)
		score := m.Scores[BasicSR]
		psnr, err := metrics.PSNR(result, target, metrics.Options{YChannel: true})
		require.NoError(t, err)
		ssim, err := metrics.SSIM(input, target, metrics.Options{})
		require.NoError(t, err)
		same(t, Number(psnr), score.PSNR[0], m.Name)
		same(t, Number(ssim), score.InputSSIM, m.Name)
		require.Empty(t, score.Baselines[Unsharp].Error)
		for _, p := range []Protocol{Matlab, RealBlur} {
			const refused = "one image is grey and the other coloured: convert one of them"
			require.Equal(t, a[i].Target.Channels == 1, m.Scores[p].Error == refused, "%s, %s: %s", m.Name, p, m.Scores[p].Error)
		}
	}

	results := album{{name: "grey result", Photos: Photos{Target: colour, Restored: grey}}, {name: "grey target", Photos: Photos{Target: grey, Restored: colour}}}
	d = scored(t, "x", results, fast())
	for _, m := range d.Images {
		psnr, err := metrics.PSNR(*eightBits(coloured(grey)), *eightBits(colour), metrics.Options{})
		require.NoError(t, err)
		require.InDelta(t, psnr, float64(m.Scores[BasicSR].PSNR[0]), 1e-12)
		require.Contains(t, m.Scores[Matlab].Error, "grey")
	}
	sides := sideBySide(grey, deep, colour)
	require.Equal(t, [2]int{3, 3*32 + 2*8}, [2]int{sides.Channels, sides.Width})
	require.Equal(t, errorMap(coloured(grey), colour).Pix, errorMap(grey, colour).Pix)
	require.Equal(t, errorMap(grey, colour).Pix, errorMap(colour, grey).Pix)
}

// TestFailures puts bad pairs of every kind among good ones.
func TestFailures(t *testing.T) {
	good := texture(32, 24, 3, 255)
	ok := Photos{Input: smear(good), Target: good}
	a := album{
		{name: "first", Photos: ok},
		{name: "unreadable", err: errors.New("x.png: the file is empty")},
		{name: "size", Photos: Photos{Input: texture(32, 25, 3, 255), Target: good}},
		{name: "depth", Photos: Photos{Input: texture(32, 24, 3, 65535), Target: good}},
		{name: "depth of target", Photos: Photos{Input: good, Target: texture(32, 24, 3, 65535)}},
		{name: "tired", Photos: ok},
		{name: "wrong result", Photos: ok},
		{name: "last", Photos: ok},
	}
	restore := func(_ context.Context, p Photos, _ uint64) (*photo.Photo, error) {
		switch p.File {
		case "tired.png":
			return nil, errors.New("the GPU is tired")
		case "wrong result.png":
			return texture(8, 8, 3, 255), nil
		}
		return p.Input, nil
	}
	d := &Dataset{Folder: t.TempDir(), Protocols: []Scorer{{Protocol: BasicSR}}}
	require.NoError(t, d.Run(t.Context(), a, Options{Restore: restore}))
	var problems []string
	for _, m := range d.Images {
		problems = append(problems, m.problem(BasicSR))
	}
	require.Equal(t, []string{
		"",
		"x.png: the file is empty",
		"the input is 32×25 pixels and the target 32×24: pair each photo with its own target",
		"the input has 16 bits a sample and the target 8: convert one of them",
		"the input has 8 bits a sample and the target 16: convert one of them",
		"the GPU is tired",
		"the images differ in size: 8×8 and 32×24; compare each result with its own target",
		"",
	}, problems)
	e := &Evaluation{Datasets: []*Dataset{d}}
	e.Summarise()
	require.Equal(t, 6, e.Failures())
	require.Equal(t, [2]int{8, 2}, [2]int{d.Scores[0].Images, d.Scores[0].Scored})
	require.Equal(t, []string{"unreadable", "size", "depth", "depth of target", "tired", "wrong result"}, d.Scores[0].Unscored)
	same(t, d.Images[0].Scores[BasicSR].PSNR[0], d.Scores[0].PSNR, "the mean of two equal ones")

	for what, result := range map[string]*photo.Photo{"16 bits": texture(32, 24, 3, 65535), "33×24": texture(33, 24, 3, 255)} {
		d := scored(t, "x", album{{name: "a", Photos: Photos{Target: good, Restored: result}}}, all())
		require.Contains(t, d.Images[0].Error, "the result ")
		require.Contains(t, d.Images[0].Error, what)
	}
}

// TestUnaligned holds pairs that cannot be aligned to being counted and named, and scored by other protocols.
func TestUnaligned(t *testing.T) {
	good := texture(48, 40, 3, 255)
	a := album{
		{name: "fine", Photos: Photos{Input: smear(good), Target: good, Restored: good}},
		{name: "black result", Photos: Photos{Input: smear(good), Target: good, Restored: flat(48, 40)}},
		{name: "black input", Photos: Photos{Input: flat(48, 40), Target: good, Restored: smear(good)}},
	}
	d := scored(t, "RealBlur_J", a, []Scorer{{Protocol: RealBlur}, {Protocol: BasicSR}})
	e := &Evaluation{Datasets: []*Dataset{d}, Seeds: 1}
	e.Summarise()
	require.Equal(t, 1, e.Failures(), "an input without a score is no failure")
	blur, basic := d.Scores[0], d.Scores[1]
	require.Equal(t, []string{"black result"}, blur.Unscored)
	require.Equal(t, []string{"black input"}, blur.BadInputs)
	require.Equal(t, [2]int{3, 2}, [2]int{blur.Images, blur.Scored})
	require.Equal(t, 3, basic.Scored)
	require.Contains(t, d.Images[1].Scores[RealBlur].Error, "the result cannot be aligned with its target: it is black")
	require.Empty(t, d.Images[1].Scores[RealBlur].PSNR)
	same(t, d.Images[0].Scores[RealBlur].InputPSNR, blur.InputPSNR, "the only input that was scored beside its result")
	same(t, none, d.Images[2].Scores[RealBlur].InputPSNR, "of a black input")
	require.True(t, math.IsInf(float64(blur.PSNR), 1), "the mean with an infinite one")
	require.Len(t, blur.Published, 2)

	d = scored(t, "x", a[1:2], []Scorer{{Protocol: RealBlur}})
	e = &Evaluation{Datasets: []*Dataset{d}}
	e.Summarise()
	same(t, none, d.Scores[0].PSNR, "a mean of nothing")
}

// TestWithoutInputs scores results alone.
func TestWithoutInputs(t *testing.T) {
	a := realPhotos(t)
	for i := range a {
		a[i].Input = nil
	}
	d := scored(t, "GoPro", a, fast())
	e := &Evaluation{Datasets: []*Dataset{d}}
	e.Summarise()
	for _, s := range d.Scores {
		require.Equal(t, 4, s.Scored)
		require.Empty(t, s.BadInputs)
		same(t, none, s.InputPSNR, "no input")
		same(t, none, s.Seconds, "nothing restored")
	}
}

func TestSeeds(t *testing.T) {
	a, restore := realPhotos(t).unrestored()
	d := &Dataset{Folder: t.TempDir(), Protocols: fast()}
	e := &Evaluation{Datasets: []*Dataset{d}, Seeds: 3}
	var seeds []uint64
	o := Options{Seed: 1, Seeds: 3, Restore: func(ctx context.Context, p Photos, seed uint64) (*photo.Photo, error) {
		seeds = append(seeds, seed)
		return restore(ctx, p, seed)
	}}
	require.Equal(t, 4, d.Left(a, o))
	require.NoError(t, d.Run(t.Context(), a, o))
	e.Summarise()
	require.Equal(t, []uint64{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3}, seeds)
	for _, s := range d.Scores {
		var means []float64
		for k := range 3 {
			sum := 0.0
			for i, m := range d.Images {
				r, err := restore(t.Context(), Photos{File: a[i].name + ".png"}, uint64(k+1))
				require.NoError(t, err)
				psnr, _, err := Scorer{Protocol: s.Protocol}.Score(pixels(r), pixels(a[i].Target))
				require.NoError(t, err)
				same(t, Number(psnr), m.Scores[s.Protocol].PSNR[k], "one seed")
				sum += psnr
			}
			means = append(means, sum/4)
		}
		m := (means[0] + means[1] + means[2]) / 3
		squares := 0.0
		for _, v := range means {
			squares += (v - m) * (v - m)
		}
		near(t, m, float64(s.PSNR), 1e-12, "mean over seeds")
		near(t, math.Sqrt(squares/2), float64(s.PSNRSpread), 1e-12, "standard deviation over seeds")
		require.Positive(t, float64(s.PSNRSpread))
		require.Positive(t, float64(s.SSIMSpread))
	}
	first, err := restore(t.Context(), Photos{File: a[0].name + ".png"}, 1)
	require.NoError(t, err)
	saved, err := photo.Open(d.File(a[0].name))
	require.NoError(t, err)
	require.Equal(t, first.Pix, saved.Pix, "that of the first seed is saved")
}

// TestResume goes on from what an earlier run left in its files.
func TestResume(t *testing.T) {
	a, restore := realPhotos(t).unrestored()
	dir := t.TempDir()
	file := filepath.Join(dir, "scores.json")
	var restored []string
	o := Options{Seeds: 2, Restore: func(ctx context.Context, p Photos, seed uint64) (*photo.Photo, error) {
		restored = append(restored, strings.TrimSuffix(p.File, ".png"))
		return restore(ctx, p, seed)
	}}
	resume := func(protocols ...Scorer) *Dataset {
		d := &Dataset{Name: "x", Folder: filepath.Join(dir, "v"), Protocols: protocols}
		if before, err := ReadJSON(file); err == nil {
			d.Earlier = before.Datasets[0]
		}
		restored = nil
		left := d.Left(a, o)
		require.NoError(t, d.Run(t.Context(), a, o))
		e := &Evaluation{Datasets: []*Dataset{d}, Complete: true}
		require.NoError(t, e.WriteJSON(file))
		require.Equal(t, left, len(slices.Compact(slices.Clone(restored))), "as announced")
		return d
	}
	matlab, basic := Scorer{Protocol: Matlab}, Scorer{Protocol: BasicSR}
	first := resume(matlab)
	require.Len(t, restored, 8)

	again := resume(matlab)
	require.Empty(t, restored)
	for i := range again.Images {
		require.Equal(t, first.Images[i].Scores, again.Images[i].Scores)
		require.Equal(t, first.Images[i].Seconds, again.Images[i].Seconds, "kept from when it was restored")
	}

	require.NoError(t, os.Remove(again.File(a[1].name)))
	resume(matlab)
	require.Equal(t, []string{a[1].name, a[1].name}, restored)

	resume(matlab, basic) // of the second seed there is no photo to score anew
	require.ElementsMatch(t, []string{a[0].name, a[1].name, a[2].name, a[3].name}, restored)

	// A photo that nobody knows of may be of other weights.
	before, err := ReadJSON(file)
	require.NoError(t, err)
	before.Datasets[0].Images, before.Datasets[0].Protocols = before.Datasets[0].Images[1:], []Scorer{matlab, basic}
	before.Complete = true
	require.NoError(t, before.WriteJSON(file))
	resume(matlab, basic)
	require.Equal(t, []string{a[0].name, a[0].name}, restored)

	require.NoError(t, os.WriteFile(first.File(a[3].name), []byte("half a photo"), 0o666))
	d := resume(matlab)
	require.Contains(t, d.Images[3].Error, "delete what was saved")
	require.Empty(t, restored)
}

// TestResumeByAnotherProtocol takes no score that was computed in another way.
func TestResumeByAnotherProtocol(t *testing.T) {
	a, restore := realPhotos(t).unrestored()
	dir := t.TempDir()
	file := filepath.Join(dir, "scores.json")
	seeds := 0
	o := Options{Seeds: 2, Restore: func(ctx context.Context, p Photos, seed uint64) (*photo.Photo, error) {
		seeds++
		return restore(ctx, p, seed)
	}}
	plain, cropped := Scorer{Protocol: BasicSR}, Scorer{Protocol: BasicSR, PSNR: metrics.Options{CropBorder: 2}}
	resume := func(protocol Scorer, stop bool) *Dataset {
		d := &Dataset{Name: "x", Folder: filepath.Join(dir, "v"), Protocols: []Scorer{protocol}}
		if before, err := ReadJSON(file); err == nil {
			d.Earlier = before.Datasets[0]
		}
		seeds = 0
		e := &Evaluation{Datasets: []*Dataset{d}}
		if !stop {
			require.NoError(t, d.Run(t.Context(), a, o))
			e.Complete = true
		}
		require.NoError(t, e.WriteJSON(file))
		return d
	}
	resume(plain, false)
	require.Equal(t, 8, seeds)
	resume(cropped, true) // stopped at once: what it left is still by the other protocol
	d := resume(cropped, false)
	require.Equal(t, 4, seeds, "the second seeds: of the first there are photos")
	for i, m := range d.Images {
		for k := range 2 {
			r, err := restore(t.Context(), Photos{File: a[i].name + ".png"}, uint64(k))
			require.NoError(t, err)
			psnr, _, err := cropped.Score(pixels(r), pixels(a[i].Target))
			require.NoError(t, err)
			same(t, Number(psnr), m.Scores[BasicSR].PSNR[k], m.Name)
		}
	}
	resume(cropped, false)
	require.Zero(t, seeds)
}

// TestInterrupted stops in the middle: what is done is known, also of the run before.
func TestInterrupted(t *testing.T) {
	a := numbered(20, Photos{Input: texture(20, 20, 3, 255), Target: texture(20, 20, 3, 255)})
	ctx, cancel := context.WithCancel(t.Context())
	d := &Dataset{Folder: t.TempDir(), Protocols: []Scorer{{Protocol: BasicSR}}}
	d.Earlier = &Dataset{Images: []*Image{{Name: a[0].name}, {Name: a[19].name, Saved: true}}} // the file is not there
	calls := 0
	err := d.Run(ctx, a, Options{Restore: func(_ context.Context, p Photos, _ uint64) (*photo.Photo, error) {
		if calls++; calls == 5 {
			cancel()
			return nil, ctx.Err()
		}
		return p.Input, nil
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, d.Images, 4)
	for _, m := range d.Images {
		require.True(t, m.Saved)
		require.Empty(t, m.Error)
	}
	file := filepath.Join(t.TempDir(), "scores.json")
	e := &Evaluation{Datasets: []*Dataset{d}}
	require.NoError(t, e.WriteJSON(file))
	back, err := ReadJSON(file)
	require.NoError(t, err)
	require.False(t, back.Complete)
	require.Equal(t, append(names(d.Images), a[19].name), names(back.Datasets[0].Images))
	require.Len(t, d.Images, 4)
}

// TestSeconds is the median.
func TestSeconds(t *testing.T) {
	d := &Dataset{Images: []*Image{{Seconds: 90}, {Seconds: 2}, {}, {Seconds: 1}}}
	near(t, 2, float64(d.seconds()), 0, "of three")
	d.Images = append(d.Images, &Image{Seconds: 3})
	near(t, 2.5, float64(d.seconds()), 0, "of four")
}
