package ref

import "math"

// HIM is the core of the hierarchical integration module (HI-Diff): the
// pixels q [B,L,C] attend to the prior's tokens k, v [B,N,C], and out is [B,L,C],
// before proj. Head h owns C/heads neighbouring channels:
// out = softmax(q·kᵀ·(C/heads)^−½)·v, over the N tokens.
func HIM(q, k, v *Array, heads int) *Array {
	m := newHIM(q, k, v, heads)
	return joinHeads(MatMulNN(Softmax(m.scores), m.v))
}

// HIMBackward is the vector–Jacobian product of [HIM].
func HIMBackward(q, k, v, gradOut *Array, heads int) (dq, dk, dv *Array) {
	m := newHIM(q, k, v, heads)
	expect("him", "gradOut", gradOut, q.Shape...)
	dattn, dv := MatMulNNBackward(Softmax(m.scores), m.v, splitHeads(gradOut, heads))
	dscores := scaled(SoftmaxBackward(m.scores, dattn), m.scale)
	dq, dk = MatMulNTBackward(m.q, m.k, dscores)
	return joinHeads(dq), joinHeads(dk), joinHeads(dv)
}

// him holds what forward and backward share: q [B,heads,L,C/heads], k, v
// [B,heads,N,C/heads], scores [B,heads,L,N].
type him struct {
	q, k, v, scores *Array
	scale           float64
}

func newHIM(q, k, v *Array, heads int) him {
	expect("him", "q", q, anySize, anySize, anySize)
	b, c := q.Shape[0], q.Shape[2]
	expect("him", "k", k, b, anySize, c)
	expect("him", "v", v, k.Shape...)
	checkHeads("him", c, heads)
	m := him{q: splitHeads(q, heads), k: splitHeads(k, heads), v: splitHeads(v, heads)}
	m.scale = 1 / math.Sqrt(float64(c/heads))
	m.scores = scaled(MatMulNT(m.q, m.k), m.scale)
	return m
}

// splitHeads moves heads before tokens: [B,N,C] → [B,heads,N,C/heads].
func splitHeads(a *Array, heads int) *Array {
	b, n, d := a.Shape[0], a.Shape[1], a.Shape[2]/heads
	return swapMiddle(a.Reshape(b, n, heads, d))
}

// joinHeads inverts splitHeads: [B,heads,N,d] → [B,N,heads·d].
func joinHeads(a *Array) *Array {
	b, heads, n, d := a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]
	return swapMiddle(a).Reshape(b, n, heads*d)
}

// swapMiddle exchanges the two middle axes: [B,P,Q,D] → [B,Q,P,D].
func swapMiddle(a *Array) *Array {
	b, p, q, d := a.Shape[0], a.Shape[1], a.Shape[2], a.Shape[3]
	out := New(b, q, p, d)
	for i := range b * p * q {
		from := a.Data[i*d : (i+1)*d]
		copy(out.Data[((i/(p*q)*q+i%q)*p+i/q%p)*d:], from)
	}
	return out
}

func scaled(a *Array, factor float64) *Array {
	return apply(a, func(v float64) float64 { return v * factor })
}
