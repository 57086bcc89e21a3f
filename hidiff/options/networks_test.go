package options_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
)

// What the option files say of the networks is what package hidiff builds.
func TestNetworksOfThePresets(t *testing.T) {
	for _, name := range options.Presets() {
		if strings.HasPrefix(name, "Small") {
			continue // TestSmallPresets
		}
		want := hidiff.GoPro()
		if name[0] == 'R' {
			want = hidiff.RealBlur()
		}
		o, err := options.Load(name, nil)
		require.NoError(t, err)
		var le hidiff.EncoderConfig
		got := want
		require.NoError(t, o.NetworkG.Decode(&got.G))
		require.NoError(t, o.NetworkLE.Decode(&le))
		if o.ModelType == options.HIDiffS2 {
			require.NoError(t, o.NetworkLEDM.Decode(&got.LE))
			require.NoError(t, o.NetworkD.Decode(&got.D))
			require.NoError(t, o.Diffusion.Decode(&got.Diffusion))
		}
		require.Equal(t, want, got)
		require.Equal(t, want.StageOne(), le)
	}
	o, err := options.Load("GoPro_S1", []options.Setting{{Option: "network_g:dimm=4"}})
	require.NoError(t, err)
	require.EqualError(t, o.NetworkG.Decode(new(hidiff.TransformerConfig)), `GoPro_S1:32: network_g: json: unknown field "dimm"`)
}
