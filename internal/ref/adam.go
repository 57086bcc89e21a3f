package ref

import "math"

// Adam holds the hyper-parameters of torch.optim.Adam, or with Decoupled of
// torch.optim.AdamW.
type Adam struct {
	LR, Beta1, Beta2, Eps float64
	WeightDecay           float64
	Decoupled             bool // AdamW: the decay acts on the parameter, not on the gradient
}

// Step makes update number step (the first is 1) of parameter p with gradient g; m and
// v are the moments, zero before the first step. p, m and v change in place.
func (o Adam) Step(step int, p, g, m, v *Array) {
	expectSome("adam", "p", p, 0)
	expect("adam", "g", g, p.Shape...)
	expect("adam", "m", m, p.Shape...)
	expect("adam", "v", v, p.Shape...)
	correction1 := 1 - math.Pow(o.Beta1, float64(step))
	correction2 := 1 - math.Pow(o.Beta2, float64(step))
	for i, grad := range g.Data {
		if o.Decoupled {
			p.Data[i] *= 1 - o.LR*o.WeightDecay
		} else {
			grad += o.WeightDecay * p.Data[i]
		}
		m.Data[i] = o.Beta1*m.Data[i] + (1-o.Beta1)*grad
		v.Data[i] = o.Beta2*v.Data[i] + (1-o.Beta2)*grad*grad
		p.Data[i] -= o.LR / correction1 * m.Data[i] / (math.Sqrt(v.Data[i]/correction2) + o.Eps)
	}
}
