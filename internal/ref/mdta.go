package ref

import "fmt"

// mdtaEps is the clamp below on the norms of q and k: F.normalize's default.
const mdtaEps = 1e-12

// MDTA is the core of transposed attention (Restormer, section 3.1): q, k, v
// [B,C,H,W] → out [B,C,H,W], before project_out. Head h owns C/heads neighbouring
// channels. q and k are L2-normalised along H·W, and channels attend to channels:
// out = softmax((q·kᵀ)·temperature[h])·v. temperature is [heads,1,1].
func MDTA(q, k, v, temperature *Array, heads int) *Array {
	m := newMDTA(q, k, v, temperature, heads)
	return MatMulNN(Softmax(m.scores), m.v).Reshape(q.Shape...)
}

// MDTABackward is the vector–Jacobian product of [MDTA].
func MDTABackward(q, k, v, temperature, gradOut *Array, heads int) (dq, dk, dv, dtemperature *Array) {
	m := newMDTA(q, k, v, temperature, heads)
	expect("mdta", "gradOut", gradOut, q.Shape...)
	dattn, dv := MatMulNNBackward(Softmax(m.scores), m.v, gradOut.Reshape(m.v.Shape...))
	dscores := SoftmaxBackward(m.scores, dattn)
	dtemperature = New(temperature.Shape...)
	for i, d := range dscores.Data {
		dtemperature.Data[m.head(i)] += d * m.gram.Data[i]
	}
	dqn, dkn := MatMulNTBackward(m.qn, m.kn, m.scale(dscores, temperature))
	dq, dk = L2NormalizeBackward(m.q, dqn, mdtaEps), L2NormalizeBackward(m.k, dkn, mdtaEps)
	return dq.Reshape(q.Shape...), dk.Reshape(q.Shape...), dv.Reshape(q.Shape...), dtemperature
}

// mdta holds what forward and backward share: q, k, v, qn, kn [B,heads,C/heads,H·W];
// gram, scores [B,heads,C/heads,C/heads].
type mdta struct {
	q, k, v, qn, kn, gram, scores *Array
}

func newMDTA(q, k, v, temperature *Array, heads int) mdta {
	b, c, h, w := image("mdta", "q", q)
	expect("mdta", "k", k, q.Shape...)
	expect("mdta", "v", v, q.Shape...)
	checkHeads("mdta", c, heads)
	expect("mdta", "temperature", temperature, heads, 1, 1)
	split := func(a *Array) *Array { return a.Reshape(b, heads, c/heads, h*w) }
	m := mdta{q: split(q), k: split(k), v: split(v)}
	m.qn, m.kn = L2Normalize(m.q, mdtaEps), L2Normalize(m.k, mdtaEps)
	m.gram = MatMulNT(m.qn, m.kn)
	m.scores = m.scale(m.gram, temperature)
	return m
}

// scale multiplies a [B,heads,C/heads,C/heads] by its head's temperature.
func (m mdta) scale(a, temperature *Array) *Array {
	out := New(a.Shape...)
	for i, v := range a.Data {
		out.Data[i] = v * temperature.Data[m.head(i)]
	}
	return out
}

// head returns the head that element i of gram belongs to.
func (m mdta) head(i int) int {
	heads, perHead := m.gram.Shape[1], m.gram.Shape[2]
	return i / (perHead * perHead) % heads
}

func checkHeads(op string, channels, heads int) {
	if heads < 1 || channels%heads != 0 {
		panic(&Error{op, "heads", fmt.Sprint(heads), fmt.Sprintf("a divisor of %d channels", channels)})
	}
}
