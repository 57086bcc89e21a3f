package synth

import "testing"

// BenchmarkPair makes pairs of 512×512 with default options: of strength 22 on the mean.
func BenchmarkPair(b *testing.B) {
	p := town(1920, 1280, 1)
	for i := 0; b.Loop(); i++ {
		if _, err := Defaults().Make(b.Context(), p, "town.png", i); err != nil {
			b.Fatal(err)
		}
	}
}
