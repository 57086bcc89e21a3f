package hidiff_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/checkpoint"
	"hidiff/hidiff/photo"
	"hidiff/internal/reference"
	"hidiff/internal/testenv"
	"hidiff/tensor"
)

// sharpPicture is another picture of that size.
func sharpPicture(width, height, channels int, white uint16) *photo.Photo {
	p := picture(width, height, channels, white)
	for i, v := range reference.Uniform("sharp", len(p.Pix)) {
		p.Pix[i] = uint16((0.5 + 0.4*float64(v)) * float64(white))
	}
	return p
}

// TestPriors holds every prior to what the networks give step by step.
func TestPriors(t *testing.T) {
	w := fixtureWeights(t, "gopro_tiny")
	m := openWeights(t, w, hidiff.Options{})
	p, sharp := picture(40, 33, 3, 65535), sharpPicture(40, 33, 3, 65535)
	d := m.Device()
	nets, err := hidiff.NewNetworks(t.Context(), d, w.Config, w.Nets)
	require.NoError(t, err)
	defer nets.Release()
	image := func(p *photo.Photo) *tensor.Tensor {
		return tensor.FromPixels(d, p.Pix, p.Max, p.Width, p.Height, p.Channels, 40, 40)
	}
	under := func(prior func(lq *tensor.Tensor) *tensor.Tensor) []uint16 {
		t.Helper()
		lq := image(p)
		defer lq.Release()
		z := prior(lq)
		defer z.Release()
		y := nets.Transform(lq, z)
		defer y.Release()
		pix, err := y.Pixels(context.Background(), p.Max, p.Width, p.Height, p.Channels)
		require.NoError(t, err)
		return pix
	}
	oracle := under(func(lq *tensor.Tensor) *tensor.Tensor {
		gt := image(sharp)
		defer gt.Release()
		return nets.Oracle(lq, gt)
	})
	zero := under(func(*tensor.Tensor) *tensor.Tensor {
		return tensor.From(d, make([]float32, 16*4*w.Config.G.EmbedDim), 1, 16, 4*w.Config.G.EmbedDim)
	})
	require.Equal(t, oracle, restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.OraclePrior, Target: sharp, Seed: 3}), "no noise is in it")
	require.Equal(t, zero, restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.ZeroPrior, Seed: 3}))
	sampled := restore(t, m, p, hidiff.RestoreOptions{})
	require.Equal(t, sampled, restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.SampledPrior, Target: sharp}), "it never sees the sharp photo")
	require.NotEqual(t, sampled, zero)
	require.NotEqual(t, sampled, oracle)
	require.NotEqual(t, zero, oracle)
	require.NotEqual(t, oracle, restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.OraclePrior, Target: p}), "the sharp photo decides")

	for _, prior := range hidiff.Priors {
		o := hidiff.RestoreOptions{Prior: prior, Target: sharp}
		plan, err := m.Plan(t.Context(), p.Width, p.Height, o)
		require.NoError(t, err)
		before := d.Stats().Dispatches
		restore(t, m, p, o)
		require.Equal(t, plan.Dispatches, d.Stats().Dispatches-before, "each prior has its plan")
	}

	// The eight turns of a mirrored pair are those of the pair, if the sharp photo turns along.
	turned := restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.OraclePrior, Target: sharp, Ensemble: true})
	again := restore(t, m, mirrored(p), hidiff.RestoreOptions{Prior: hidiff.OraclePrior, Target: mirrored(sharp), Ensemble: true})
	require.NotEqual(t, oracle, turned)
	back := *p
	back.Pix = again
	require.LessOrEqual(t, largest(turned, mirrored(&back).Pix), 1, "of 65535: the order of a sum")
}

func mirrored(p *photo.Photo) *photo.Photo {
	q := *p
	q.Pix = nil
	for y := range p.Height {
		for x := range p.Width {
			q.Pix = append(q.Pix, p.Pix[(y*p.Width+p.Width-1-x)*p.Channels:][:p.Channels]...)
		}
	}
	return &q
}

// TestPriorsInBands restores under every prior within little memory, as planned and to the same picture.
func TestPriorsInBands(t *testing.T) {
	testenv.Long(t)
	p, sharp := picture(104, 96, 3, 65535), sharpPicture(104, 96, 3, 65535)
	for _, prior := range hidiff.Priors {
		t.Run(string(prior), func(t *testing.T) {
			w := fixtureWeights(t, "gopro_tiny")
			for net := range w.Nets { // no other networks are needed
				if !slices.Contains(prior.Networks(), net) {
					delete(w.Nets, net)
				}
			}
			o := hidiff.RestoreOptions{Prior: prior, Target: sharp}
			m := openWeights(t, w, hidiff.Options{})
			whole, err := m.Plan(t.Context(), p.Width, p.Height, o)
			require.NoError(t, err)
			require.Equal(t, 1, whole.Bands)
			want := restore(t, m, p, o)
			budget := whole.Weights + int64(0.09*float64(whole.Peak-whole.Weights))
			small := openWeights(t, w, hidiff.Options{Memory: budget})
			plan, err := small.Plan(t.Context(), p.Width, p.Height, o)
			require.NoError(t, err)
			require.Greater(t, plan.Bands, 4, "%+v", plan)
			require.True(t, plan.Offload, "%+v", plan)
			before := small.Device().Stats().Dispatches
			got := restore(t, small, p, o)
			s := small.Device().Stats()
			require.Equal(t, plan.Dispatches, s.Dispatches-before, "the plan is what runs")
			require.LessOrEqual(t, s.Peak, budget)
			require.LessOrEqual(t, largest(got, want), 2, "of 65535: rounding only")
		})
	}
}

// TestPriorsRefuse names what is missing.
func TestPriorsRefuse(t *testing.T) {
	w := fixtureWeights(t, "gopro_tiny")
	delete(w.Nets, hidiff.NetLEDM)
	delete(w.Nets, hidiff.NetD)
	m := openWeights(t, w, hidiff.Options{})
	p := picture(16, 8, 3, 255)
	for want, o := range map[string]hidiff.RestoreOptions{
		"the weights lack net_le_dm and net_d, which this prior needs":                     {},
		`"best" is no prior: it must be sampled, zero or oracle`:                           {Prior: "best"},
		"an oracle prior sees the sharp photo, and none was given":                         {Prior: hidiff.OraclePrior},
		"the sharp photo is 8×16 pixels and the blurry one 16×8: they must be of one size": {Prior: hidiff.OraclePrior, Target: picture(8, 16, 3, 255)},
	} {
		_, err := m.Restore(context.Background(), p, o)
		require.EqualError(t, err, want)
	}
	_, err := m.Plan(t.Context(), 16, 8, hidiff.RestoreOptions{})
	require.ErrorContains(t, err, "the weights lack net_le_dm")
	restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.ZeroPrior})
	grey := picture(16, 8, 1, 65535)
	restore(t, m, p, hidiff.RestoreOptions{Prior: hidiff.OraclePrior, Target: grey})
}

// TestLoadForPrior loads no more than a prior needs, and completes the configuration.
func TestLoadForPrior(t *testing.T) {
	gopro, realblur := tinyWeights("gopro_tiny"), fill(configurations()["realblur_tiny"], "realblur_tiny")
	for name, w := range map[string]*hidiff.Weights{"gopro": gopro, "realblur": realblur} {
		t.Run(name, func(t *testing.T) {
			one, all := t.TempDir(), t.TempDir()
			for _, net := range []hidiff.Network{hidiff.NetG, hidiff.NetLE} {
				savePTH(t, w.Nets[net], one, "models", string(net)+"_9.pth")
			}
			for net, sd := range w.Nets {
				savePTH(t, sd, all, string(net)+".pth")
			}
			bundle := filepath.Join(t.TempDir(), "all.safetensors")
			require.NoError(t, w.Save(bundle, checkpoint.F32))
			hashes := map[string]bool{}
			for prior, paths := range map[hidiff.Prior][]string{
				hidiff.OraclePrior: {one, all, bundle}, hidiff.ZeroPrior: {filepath.Join(one, "models", "net_g_9.pth"), one, all, bundle},
			} {
				for _, path := range paths {
					got, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{Prior: prior}, path)
					require.NoError(t, err)
					require.NoError(t, got.Config.Validate())
					require.Equal(t, w.Config.G, got.Config.G)
					if prior == hidiff.OraclePrior {
						require.Equal(t, w.Config.StageOne(), got.Config.StageOne())
					}
					require.Len(t, got.Nets, len(prior.Networks()))
					for _, net := range prior.Networks() {
						require.Equal(t, w.Nets[net], got.Nets[net])
						require.NotEmpty(t, got.Sources[net])
					}
					require.Equal(t, w.Hash(prior.Networks()...), got.Hash(prior.Networks()...))
				}
				hashes[w.Hash(prior.Networks()...)] = true
			}
			require.Len(t, hashes, 2)
			require.NotContains(t, hashes, w.Hash())

			_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{}, one)
			require.ErrorContains(t, err, "weights lack net_le_dm, net_d: deblurring needs net_g, net_le_dm and net_d, and given were: net_g ")
			_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{Prior: hidiff.OraclePrior}, filepath.Join(all, "net_g.pth"), filepath.Join(all, "net_d.pth"))
			require.ErrorContains(t, err, "weights lack net_le: the prior oracle needs net_g and net_le, and given were: net_g ")
			_, err = hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{Prior: hidiff.ZeroPrior}, filepath.Join(all, "net_d.pth"))
			require.ErrorContains(t, err, "weights lack net_g: the prior zero needs net_g")
		})
	}
	other := gopro.Config
	other.LE.EmbedDim, other.G.EmbedDim = 16, 16
	other.D.InChannel, other.D.OutChannel = 64, 64
	dir := t.TempDir()
	g, le := savePTH(t, gopro.Nets[hidiff.NetG], dir, "net_g.pth"), savePTH(t, fill(other, "other").Nets[hidiff.NetLE], dir, "net_le.pth")
	_, err := hidiff.LoadWeights(t.Context(), hidiff.LoadOptions{Prior: hidiff.OraclePrior}, dir)
	require.EqualError(t, err, "net_g from "+g+" and net_le from "+le+" do not belong together: embed_dim is 8 and 16, and group 4 and 4")
}
