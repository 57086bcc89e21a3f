package hidiff_test

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/wgpu"
)

// The released networks restore a photo of 256 x 256 pixels in few dispatches,
// as docs/PERFORMANCE.md says.
func TestDispatches(t *testing.T) {
	for _, c := range []struct {
		name   string
		config hidiff.Config
		most   int64
	}{{"GoPro", hidiff.GoPro(), 400}, {"RealBlur", hidiff.RealBlur(), 416}} {
		t.Run(c.name, func(t *testing.T) {
			m, err := hidiff.NewModel(hidiff.InitialWeights(c.config, 1), hidiff.Options{GPU: os.Getenv("HIDIFF_GPU")})
			if none := (*wgpu.NoAdapterError)(nil); errors.As(err, &none) && os.Getenv("REQUIRE_GPU") == "" {
				t.Skipf("no adapter: %v", err)
			}
			require.NoError(t, err)
			defer m.Close()
			plan, err := m.Plan(256, 256, hidiff.RestoreOptions{})
			require.NoError(t, err)
			t.Log(plan.Dispatches, "dispatches")
			require.LessOrEqual(t, plan.Dispatches, c.most)
		})
	}
}
