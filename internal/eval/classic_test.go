package eval

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
)

// naiveBlur is a Gaussian blur as its definition has it: a sum over all places within three standard deviations, in
// float64, of a plane that is mirrored again and again beyond its borders.
func naiveBlur(values []float64, width, height int, sigma float64) []float64 {
	at := func(i, n int) int {
		for i < 0 || i >= n {
			if i < 0 {
				i = -1 - i
			} else {
				i = 2*n - 1 - i
			}
		}
		return i
	}
	radius := int(math.Ceil(3 * sigma))
	out := make([]float64, len(values))
	for y := range height {
		for x := range width {
			sum, total := 0.0, 0.0
			for dy := -radius; dy <= radius; dy++ {
				for dx := -radius; dx <= radius; dx++ {
					w := math.Exp(-float64(dx*dx+dy*dy) / (2 * sigma * sigma))
					sum += w * values[at(y+dy, height)*width+at(x+dx, width)]
					total += w
				}
			}
			out[y*width+x] = sum / total
		}
	}
	return out
}

// planes are a photo's channels in 0..1, and back.
func planes(p *photo.Photo) (out [][]float64) {
	for c := range p.Channels {
		plane := make([]float64, p.Width*p.Height)
		for i := range plane {
			plane[i] = float64(p.Pix[i*p.Channels+c]) / float64(p.Max)
		}
		out = append(out, plane)
	}
	return out
}

func fromPlanes(like *photo.Photo, planes [][]float64) *photo.Photo {
	p := *like
	p.Pix = make([]uint16, len(like.Pix))
	for c, plane := range planes {
		for i, v := range plane {
			p.Pix[i*p.Channels+c] = uint16(math.Round(min(max(v, 0), 1) * float64(p.Max)))
		}
	}
	return &p
}

// blurred is a photo blurred by a Gaussian and rounded.
func blurred(p *photo.Photo, sigma float64) *photo.Photo {
	all := planes(p)
	for c := range all {
		all[c] = naiveBlur(all[c], p.Width, p.Height, sigma)
	}
	return fromPlanes(p, all)
}

func psnr(t *testing.T, a, b *photo.Photo) float64 {
	t.Helper()
	v, err := metrics.PSNR(pixels(a), pixels(b), metrics.Options{})
	require.NoError(t, err)
	return v
}

// part cuts a square out of a photo.
func part(p *photo.Photo, x0, y0, size int) *photo.Photo {
	out := &photo.Photo{Width: size, Height: size, Channels: p.Channels, Max: p.Max}
	for y := range size {
		row := ((y0+y)*p.Width + x0) * p.Channels
		out.Pix = append(out.Pix, p.Pix[row:row+size*p.Channels]...)
	}
	return out
}

func TestGaussian(t *testing.T) {
	for _, c := range []struct {
		width, height int
		sigma         float64
	}{{1, 1, 1}, {3, 1, 2}, {1, 5, 0.5}, {5, 3, 3}, {63, 17, 1.5}, {16, 65, 1}} {
		in := make([]float32, c.width*c.height)
		wide := make([]float64, len(in))
		for i := range in {
			in[i] = float32(i*i*37%101) / 100
			wide[i] = float64(in[i])
		}
		g := newGaussian(c.sigma, c.width, c.height)
		out := make([]float32, len(in))
		for i := range out {
			out[i] = float32(math.NaN())
		}
		g.blur(out, in)
		for i, want := range naiveBlur(wide, c.width, c.height, c.sigma) {
			near(t, want, float64(out[i]), 2e-6, fmt.Sprintf("%v at %d", c, i))
		}
		g.blur(in, in)
		require.Equal(t, out, in, "in place")
	}
}

// TestRichardsonLucyIterates holds iterations to their formula in float64, whose estimates keep the sum of the photo.
func TestRichardsonLucyIterates(t *testing.T) {
	const width, height, sigma = 13, 9, 1.25
	p := make([]float32, width*height)
	wide := make([]float64, len(p))
	for i := range p {
		p[i] = 0.1 + float32(i*i*37%101)/120
		wide[i] = float64(p[i])
	}
	p[5], wide[5] = 0, 0
	estimate := slices.Clone(wide)
	step := func() {
		ratio := naiveBlur(estimate, width, height, sigma)
		for i := range ratio {
			ratio[i] = wide[i] / ratio[i]
		}
		for i, v := range naiveBlur(ratio, width, height, sigma) {
			estimate[i] *= v
		}
	}
	done := 0
	iterations := []float64{0, 1, 4, 25}
	newGaussian(sigma, width, height).deconvolve(p, iterations, func(k int, values []float32) {
		for ; done < int(iterations[k]); done++ {
			step()
		}
		sum, want := 0.0, 0.0
		for i, v := range values {
			near(t, estimate[i], float64(v), 1e-4, fmt.Sprintf("place %d after %d iterations", i, done))
			sum, want = sum+float64(v), want+wide[i]
		}
		near(t, want, sum, 1e-4, "the sum of the photo")
	})
	require.Equal(t, 25, done)
}

// TestBaselinesSharpen holds the methods to gains in decibels over blur that they are made for.
func TestBaselinesSharpen(t *testing.T) {
	for _, pair := range realPhotos(t) {
		sharp := part(pair.Target, 10, 20, 63)
		soft := blurred(sharp, 1)
		before := psnr(t, soft, sharp)
		deconvolved := psnr(t, Baseline{RichardsonLucy, 1, 30}.Apply(soft), sharp)
		masked := psnr(t, Baseline{Unsharp, 1, 1}.Apply(soft), sharp)
		t.Logf("%s: %.2f dB, unsharp %.2f dB, Richardson-Lucy %.2f dB", pair.name, before, masked, deconvolved)
		require.Greater(t, deconvolved, before+3)
		require.Greater(t, masked, before+1.5)
		require.Less(t, psnr(t, Baseline{RichardsonLucy, 3, 30}.Apply(soft), sharp), before, "under a wrong point-spread function")
	}
}

// TestBaselinesKeepKind leaves photos of every kind alone at strength 0, and changes no more than their samples otherwise.
func TestBaselinesKeepKind(t *testing.T) {
	for _, p := range []*photo.Photo{texture(17, 9, 3, 255), texture(9, 17, 1, 65535), texture(1, 1, 3, 65535), texture(1, 30, 1, 255)} {
		p.Alpha = make([]uint16, p.Width*p.Height)
		before := slices.Clone(p.Pix)
		for _, m := range Methods {
			require.Equal(t, p, Baseline{m, 2, 0}.Apply(p))
			q := Baseline{m, 2, 1}.Apply(p)
			require.Equal(t, [4]int{p.Width, p.Height, p.Channels, int(p.Max)}, [4]int{q.Width, q.Height, q.Channels, int(q.Max)})
			if p.Width*p.Height > 100 {
				require.NotEqual(t, p.Pix, q.Pix)
			}
			require.Equal(t, before, p.Pix)
		}
	}
	bright := texture(20, 20, 3, 65535)
	for i := range bright.Pix {
		bright.Pix[i] = 65535 * uint16(i%2)
	}
	for _, v := range (Baseline{Unsharp, 1, 4}).Apply(bright).Pix {
		require.Contains(t, []uint16{0, 65535}, v, "beyond white is white")
	}
}

// choose runs Choose, and counts its progress.
func choose(t *testing.T, s Source, methods ...Method) []Baseline {
	t.Helper()
	d := &Dataset{}
	var told []int
	require.NoError(t, d.Choose(t.Context(), s, methods, func(done, of int) {
		require.Equal(t, s.Len(), of)
		told = append(told, done)
	}))
	require.Len(t, told, s.Len())
	require.Equal(t, s.Len(), told[len(told)-1])
	return d.Baselines
}

// TestChoose holds the choice to trying everything, and to what is known of the blur.
func TestChoose(t *testing.T) {
	var a, noisy album
	for i, pair := range realPhotos(t) {
		sharp := part(pair.Target, 10, 20, 40)
		a = append(a, pairOf(pair.name, blurred(sharp, 1.5), sharp))
		rough := *sharp
		rough.Pix = slices.Clone(sharp.Pix)
		for k := range rough.Pix {
			rough.Pix[k] = uint16(max(min(int(rough.Pix[k])+(k*k*(31+i))%21-10, 255), 0))
		}
		noisy = append(noisy, pairOf(pair.name, &rough, sharp))
	}
	chosen := choose(t, a, RichardsonLucy, Unsharp)
	require.Equal(t, Baseline{RichardsonLucy, 1.5, 30}, chosen[0], "the point-spread function that it was")
	for _, b := range chosen {
		best, highest := Baseline{}, 0.0
		for _, sigma := range grids[b.Method].sigmas {
			for _, strength := range grids[b.Method].strengths {
				try, sum := Baseline{b.Method, sigma, strength}, 0.0
				for _, pair := range a {
					sum += psnr(t, try.Apply(pair.Input), pair.Target)
				}
				if sum > highest {
					best, highest = try, sum
				}
			}
		}
		require.Equal(t, best, b)
	}
	for _, b := range choose(t, noisy, Methods...) {
		require.Zero(t, b.Strength, "sharpening noise helps nobody")
	}

	// Pairs that cannot be used are left out.
	bad := append(album{
		{name: "gone", err: os.ErrNotExist}, pairOf("size", texture(9, 9, 3, 255), texture(9, 8, 3, 255)), {name: "no input", Photos: Photos{Target: a[0].Target}},
	}, a...)
	require.Equal(t, chosen, choose(t, bad, RichardsonLucy, Unsharp))
	require.Len(t, choose(t, bad[:1], Unsharp), 1)
	require.Empty(t, choose(t, a))
	require.Zero(t, choose(t, album{pairOf("equal", a[0].Target, a[0].Target)}, Unsharp)[0].Strength)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, (&Dataset{}).Choose(ctx, a, Methods, func(int, int) {}), context.Canceled)
	require.Equal(t, []string{"unsharp, sigma 0.5, amount 0.25", "richardson-lucy, sigma 2, iterations 10"},
		[]string{Baseline{Unsharp, 0.5, 0.25}.String(), Baseline{RichardsonLucy, 2, 10}.String()})
	_, err := NewMethod("wiener")
	require.EqualError(t, err, "wiener is no classical method: it must be unsharp or richardson-lucy")
}

func pairOf(name string, input, target *photo.Photo) pair {
	return pair{name: name, Photos: Photos{Input: input, Target: target}}
}

// TestBaselines finds the scores of baselines in everything that is written.
func TestBaselines(t *testing.T) {
	a := realPhotos(t)[:3]
	a[1].Input = flat(a[1].Target.Width, a[1].Target.Height) // which cannot be aligned
	a = append(a, pair{name: "gone", err: os.ErrNotExist})
	d := &Dataset{
		Name: "mine", Folder: t.TempDir(), Protocols: all(),
		Baselines: []Baseline{{Unsharp, 1, 0.5}, {RichardsonLucy, 1, 3}},
	}
	require.NoError(t, d.Run(t.Context(), a, Options{}))
	e := &Evaluation{Name: "mine", Seeds: 1, Complete: true, Datasets: []*Dataset{d}}
	e.Summarise()
	for _, s := range d.Scores {
		require.Len(t, s.Baselines, 2)
		for k, b := range d.Baselines {
			sum, n := 0.0, 0
			for i, m := range d.Images[:3] {
				got := m.Scores[s.Protocol].Baselines[b.Method]
				psnr, ssim, err := Scorer{Protocol: s.Protocol}.Score(pixels(b.Apply(a[i].Input)), pixels(a[i].Target))
				if err != nil {
					require.Equal(t, err.Error(), got.Error)
					continue
				}
				same(t, Number(psnr), got.PSNR, m.Name)
				same(t, Number(ssim), got.SSIM, m.Name)
				sum, n = sum+psnr, n+1
			}
			require.Equal(t, b, s.Baselines[k].Baseline)
			require.Equal(t, n, s.Baselines[k].Scored)
			near(t, sum/float64(n), float64(s.Baselines[k].PSNR), 1e-12, "the mean")
			if s.Protocol == RealBlur {
				require.Equal(t, []string{"01_coffee"}, s.Baselines[k].Unscored)
			} else {
				require.Empty(t, s.Baselines[k].Unscored)
			}
		}
	}
	require.Equal(t, 1, e.Failures(), "a baseline without a score is no failure")

	var table bytes.Buffer
	require.NoError(t, d.WriteTable(&table))
	basic := d.Scores[0].Baselines[0]
	require.Regexp(t, fmt.Sprintf(`\nbasicsr +3 of 4 .*\n  unsharp, sigma 1, amount 0\.5 +3 of 3 +%s +%s\n  richardson-lucy, sigma 1, iterations 3 +3 of 3 `, basic.PSNR.Round(3), basic.SSIM.Round(4)), table.String())
	require.Contains(t, table.String(), "\n1 whose unsharp has no score by realblur: 01_coffee\n")
	require.Contains(t, table.String(), "\n"+BaselineNote+"\n")
	require.NotContains(t, table.String(), " \n")

	file := filepath.Join(t.TempDir(), "scores.csv")
	require.NoError(t, e.WriteCSV(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"unsharp_psnr", "unsharp_ssim", "richardson_lucy_psnr", "richardson_lucy_ssim"}, lines[0][9:])
	first := d.Images[0].Scores[BasicSR].Baselines
	require.Equal(t, []string{first[Unsharp].PSNR.text(), first[Unsharp].SSIM.text(), first[RichardsonLucy].PSNR.text(), first[RichardsonLucy].SSIM.text()}, lines[1][9:])
	require.Equal(t, []string{"", "", "", ""}, lines[len(lines)-1][9:], "of a pair that is gone")

	file = filepath.Join(t.TempDir(), "scores.json")
	require.NoError(t, e.WriteJSON(file))
	back, err := ReadJSON(file)
	require.NoError(t, err)
	require.Equal(t, d.Baselines, back.Datasets[0].Baselines)
	require.Equal(t, first, back.Datasets[0].Images[0].Scores[BasicSR].Baselines)

	_, page := readPage(t, e, []Source{a}, 2)
	for _, want := range []string{
		`<td colspan="2">unsharp, sigma 1, amount 0.5</td><td>3 of 3</td><td>` + basic.PSNR.Round(3) + "</td>", `<td class="bad">2 of 3</td>`, BaselineNote,
		fmt.Sprintf("; richardson-lucy %s dB, ", first[RichardsonLucy].PSNR.Round(2)), `<th><button type="button">unsharp PSNR</button></th>`,
		"<td>" + first[Unsharp].PSNR.Round(3) + "</td><td>" + first[Unsharp].SSIM.Round(4) + "</td><td>" + first[RichardsonLucy].PSNR.Round(3) + "</td>",
	} {
		require.Contains(t, page, want)
	}
	e.Datasets[0].Baselines = nil
	_, page = readPage(t, e, []Source{a}, 2)
	require.NotContains(t, page, "unsharp")
}

// BenchmarkChoose is a crop of 256×256 pixels, by both methods.
func BenchmarkChoose(b *testing.B) {
	sharp := texture(256, 256, 3, 255)
	a := album{pairOf("a", smear(sharp), sharp)}
	for b.Loop() {
		require.NoError(b, (&Dataset{}).Choose(b.Context(), a, Methods, func(int, int) {}))
	}
}

func TestMiddle(t *testing.T) {
	p := texture(300, 259, 3, 65535)
	q := middle(p)
	require.Equal(t, [4]int{256, 256, 3, 65535}, [4]int{q.Width, q.Height, q.Channels, int(q.Max)})
	require.Len(t, q.Pix, 256*256*3)
	for _, at := range [][2]int{{0, 0}, {255, 0}, {7, 255}} {
		require.Equal(t, p.Pix[((at[1]+1)*300+at[0]+22)*3+2], q.Pix[(at[1]*256+at[0])*3+2])
	}
	small := texture(5, 300, 1, 255)
	require.Equal(t, small.Pix[5*22:5*278], middle(small).Pix)
}
