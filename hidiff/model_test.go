package hidiff_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
	"hidiff/internal/reference"
	"hidiff/internal/testenv"
	"hidiff/internal/testgpu"
)

func TestMain(m *testing.M) { testgpu.Main(m) }

// fixtureWeights are those of the gopro_tiny or realblur_tiny fixtures.
func fixtureWeights(t *testing.T, name string) *hidiff.Weights {
	t.Helper()
	c, ok := configurations()[name]
	require.True(t, ok, name)
	return hidiff.FillWeights(c, func(net, key string, shape []int) []float32 {
		values := reference.Fill(name, net, key, shape)
		if key == "output.weight" { // as the end-to-end fixtures: a picture, not noise
			for i := range values {
				values[i] *= 0.02
			}
		}
		return values
	})
}

func openModel(t *testing.T, o hidiff.Options) *hidiff.Model {
	t.Helper()
	return openWeights(t, fixtureWeights(t, "gopro_tiny"), o)
}

func openWeights(t *testing.T, w *hidiff.Weights, o hidiff.Options) *hidiff.Model {
	t.Helper()
	o.GPU = testenv.GPU()
	m, err := hidiff.NewModel(t.Context(), w, o)
	testgpu.Opened(t, err)
	t.Cleanup(m.Close)
	return m
}

func picture(width, height, channels int, white uint16) *photo.Photo {
	p := &photo.Photo{Width: width, Height: height, Channels: channels, Max: white, Pix: make([]uint16, width*height*channels)}
	for i, v := range reference.Uniform("picture", len(p.Pix)) {
		p.Pix[i] = uint16((0.5 + 0.4*float64(v)) * float64(white))
	}
	return p
}

func restore(t *testing.T, m *hidiff.Model, p *photo.Photo, o hidiff.RestoreOptions) []uint16 {
	t.Helper()
	out, err := m.Restore(context.Background(), p, o)
	require.NoError(t, err)
	require.Equal(t, []int{p.Width, p.Height, p.Channels, int(p.Max)}, []int{out.Width, out.Height, out.Channels, int(out.Max)})
	require.Len(t, out.Pix, len(p.Pix))
	return out.Pix
}

func TestAnySize(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	for _, size := range [][2]int{{1, 1}, {7, 5}, {8, 8}, {9, 17}, {101, 64}} {
		for _, channels := range []int{1, 3} {
			for _, white := range []uint16{255, 65535} {
				restore(t, m, picture(size[0], size[1], channels, white), hidiff.RestoreOptions{})
			}
		}
	}
}

// largest returns the largest difference between two pictures.
func largest(a, b []uint16) int {
	most := 0
	for i := range a {
		most = max(most, int(a[i])-int(b[i]), int(b[i])-int(a[i]))
	}
	return most
}

func TestSmallBudgetGivesTheSamePicture(t *testing.T) {
	testenv.Long(t)
	m := openModel(t, hidiff.Options{})
	p := picture(200, 152, 3, 65535)
	whole, err := m.Plan(t.Context(), p.Width, p.Height, hidiff.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, whole.Bands)
	want := restore(t, m, p, hidiff.RestoreOptions{})

	for _, c := range []struct {
		share   float64 // of the memory beside the weights
		offload bool
	}{{0.17, false}, {0.09, true}} {
		budget := whole.Weights + int64(c.share*float64(whole.Peak-whole.Weights))
		small := openModel(t, hidiff.Options{Memory: budget})
		plan, err := small.Plan(t.Context(), p.Width, p.Height, hidiff.RestoreOptions{})
		require.NoError(t, err)
		require.Greater(t, plan.Bands, 4, "%+v", plan)
		require.Equal(t, c.offload, plan.Offload, "%+v", plan)
		before := small.Device().Stats().Dispatches
		got := restore(t, small, p, hidiff.RestoreOptions{})
		s := small.Device().Stats()
		require.Equal(t, plan.Dispatches, s.Dispatches-before, "the plan is what runs")
		require.LessOrEqual(t, s.Peak, budget)
		require.LessOrEqual(t, largest(got, want), 2, "of 65535: rounding only")
	}
}

// What is averaged or blended need not fit on the device as a whole either.
func TestSmallBudgetForEveryWay(t *testing.T) {
	m := openModel(t, hidiff.Options{Memory: 12 << 20})
	const width, height = 1600, 1000
	for name, o := range map[string]hidiff.RestoreOptions{"plain": {}, "ensemble": {Ensemble: true}, "tiles": {Tile: 256}} {
		plan, err := m.Plan(t.Context(), width, height, o)
		require.NoError(t, err, name)
		require.Less(t, plan.Peak, int64(4*3*width*height), name)
	}
}

func TestBudgetTooSmall(t *testing.T) {
	m := openModel(t, hidiff.Options{Memory: 8 << 20})
	_, err := m.Plan(t.Context(), 3000, 2000, hidiff.RestoreOptions{})
	require.ErrorContains(t, err, "3000 x 2000")
	var small *hidiff.BudgetError
	require.ErrorAs(t, err, &small)
	require.EqualValues(t, 8<<20, small.Budget)
	require.Greater(t, small.Least, small.Budget)
	require.ErrorContains(t, err, "at least")
	_, err = m.Restore(context.Background(), picture(3000, 2000, 3, 255), hidiff.RestoreOptions{})
	require.ErrorAs(t, err, &small)
	restore(t, m, picture(16, 16, 3, 255), hidiff.RestoreOptions{}) // the model is still good
}

func TestNoiseDependsOnSeedAndName(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(24, 16, 3, 65535)
	first := restore(t, m, p, hidiff.RestoreOptions{Seed: 1, Name: "a.png"})
	restore(t, m, p, hidiff.RestoreOptions{Seed: 1, Name: "b.png"})
	require.Equal(t, first, restore(t, m, p, hidiff.RestoreOptions{Seed: 1, Name: "a.png"}), "whatever came between")
	require.NotEqual(t, first, restore(t, m, p, hidiff.RestoreOptions{Seed: 2, Name: "a.png"}))
	require.NotEqual(t, first, restore(t, m, p, hidiff.RestoreOptions{Seed: 1, Name: "b.png"}))
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(40, 32, 3, 255)
	restore(t, m, p, hidiff.RestoreOptions{})
	before := m.Device().Stats()
	for range 3 {
		restore(t, m, p, hidiff.RestoreOptions{})
	}
	after := m.Device().Stats()
	require.Equal(t, before.Allocations, after.Allocations)
	require.Equal(t, before.Live, after.Live)
}

func TestCancelled(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(64, 64, 3, 255)
	want := restore(t, m, p, hidiff.RestoreOptions{})
	live := m.Device().Stats().Live
	ctx, cancel := context.WithCancel(context.Background())
	_, err := m.Restore(ctx, p, hidiff.RestoreOptions{Progress: func(float64) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, live, m.Device().Stats().Live, "nothing is left behind")
	require.Equal(t, want, restore(t, m, p, hidiff.RestoreOptions{}))
}

func TestProgress(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	last := -1.0
	_, err := m.Restore(context.Background(), picture(32, 32, 3, 255), hidiff.RestoreOptions{Progress: func(f float64) {
		require.GreaterOrEqual(t, f, last)
		last = f
	}})
	require.NoError(t, err)
	require.Equal(t, 1.0, last)
}

func TestEnsembleAndTiles(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(150, 110, 3, 255)
	plain := restore(t, m, p, hidiff.RestoreOptions{})
	for name, o := range map[string]hidiff.RestoreOptions{
		"ensemble": {Ensemble: true}, "tiles": {Tile: 64}, "tiles, wide overlap": {Tile: 64, TileOverlap: 32},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := m.Plan(t.Context(), p.Width, p.Height, o)
			require.NoError(t, err)
			require.Equal(t, o.Tile == 0, plan.Exact)
			before := m.Device().Stats().Dispatches
			got := restore(t, m, p, o)
			require.Equal(t, plan.Dispatches, m.Device().Stats().Dispatches-before)
			require.NotEqual(t, plain, got)
			require.Less(t, largest(plain, got), 60, "another estimate of the same picture")
		})
	}
	whole := restore(t, m, p, hidiff.RestoreOptions{Tile: 512})
	require.LessOrEqual(t, largest(plain, whole), 1, "one tile is the whole")
}

func TestBrokenWeightsAreNoBlackPicture(t *testing.T) {
	for _, name := range []string{"realblur_tiny", "gopro_tiny"} { // a sampler each
		w := fixtureWeights(t, name)
		keys := w.Nets[hidiff.NetD].Keys()
		last, _ := w.Nets[hidiff.NetD].Get(keys[len(keys)-1])
		for i := range last.Data {
			last.Data[i] = 0xff // NaN
		}
		m := openWeights(t, w, hidiff.Options{})
		_, err := m.Restore(context.Background(), picture(16, 16, 3, 255), hidiff.RestoreOptions{})
		require.ErrorContains(t, err, "not finite", name)
	}
}

func TestTilesThatCannotBe(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	for _, o := range []hidiff.RestoreOptions{{Tile: -64}, {Tile: 64, TileOverlap: 33}, {Tile: 64, TileOverlap: -1}, {TileOverlap: 8}} {
		_, err := m.Restore(context.Background(), picture(100, 16, 3, 255), o)
		require.ErrorContains(t, err, "half a tile")
	}
}

func TestMetadataStays(t *testing.T) {
	m := openModel(t, hidiff.Options{})
	p := picture(12, 10, 3, 255)
	p.Alpha = bytes16(12 * 10)
	p.Meta.XMP = []byte("<x/>")
	out, err := m.Restore(context.Background(), p, hidiff.RestoreOptions{})
	require.NoError(t, err)
	require.Equal(t, p.Alpha, out.Alpha)
	require.Equal(t, p.Meta, out.Meta)
}

func bytes16(n int) []uint16 {
	out := make([]uint16, n)
	for i := range out {
		out[i] = uint16(i)
	}
	return out
}
