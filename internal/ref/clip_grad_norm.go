package ref

import "math"

// ClipGradNorm returns the Euclidean norm over all grads together, and the grads
// scaled by min(1, limit/(norm + 1e-6)). PyTorch: clip_grad_norm_.
func ClipGradNorm(grads []*Array, limit float64) (norm float64, clipped []*Array) {
	for _, g := range grads {
		expectSome("clip_grad_norm", "grads", g, 0)
		norm += dot(g.Data, g.Data)
	}
	norm = math.Sqrt(norm)
	for _, g := range grads {
		clipped = append(clipped, scaled(g, min(1, limit/(norm+1e-6))))
	}
	return norm, clipped
}
