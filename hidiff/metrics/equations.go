package metrics

import "math"

// At a pixel (x, y), the warped image I changes with the parameters h0, h3, h6, h1, h4, h7, h2, h5 by
// g0·x, g1·x, g2·x, g0·y, g1·y, g2·y, g0, g1: the Jacobian J, with one g for each row of the homography.
// So all that an iteration sums along a row is powers of x times products of g with g, I, T and the mask.

// add changes the parameters, given in the order above.
func (h *homography) add(change vector) {
	for k, d := range change {
		h[k%3*3+k/3] += d
	}
}

// warpedRow is one row of the template T and of what is warped onto it.
type warpedRow struct {
	g                     [3][]float64
	image, template, mask []float64 // template and mask are 0 where the nearest pixel lies outside of the image
}

func newWarpedRow(width int) *warpedRow {
	row := func() []float64 { return make([]float64, width) }
	return &warpedRow{[3][]float64{row(), row(), row()}, row(), row(), row()}
}

func (r *warpedRow) read(image field, template []float64, h *homography, row int) {
	y := float64(row)
	for i, t := range template {
		x := float64(i)
		w := 1 / (h[6]*x + h[7]*y + h[8])
		u, v := (h[0]*x+h[1]*y+h[2])*w, (h[3]*x+h[4]*y+h[5])*w
		s := image.at(u, v)
		r.g[0][i], r.g[1][i], r.g[2][i] = s.dx*w, s.dy*w, -(s.dx*u+s.dy*v)*w
		r.image[i], r.template[i], r.mask[i] = s.value, 0, 0
		if nearestInside(u, v, image.width, image.height) {
			r.template[i], r.mask[i] = t, 1
		}
	}
}

// rowSums are the sums over a row that the equations need.
type rowSums struct {
	overlap
	squares                     [6]powers // of gᵢ·gⱼ for i ≤ j, see pair
	onImage, onTemplate, onMask [3]powers // of gᵢ·I, gᵢ·T, gᵢ, the last two over the mask
}

// powers are the sums of p, x·p and x²·p.
type powers [3]float64

// pair is the place of gᵢ·gⱼ in rowSums.squares.
var pair = [3][3]int{{0, 1, 2}, {1, 3, 4}, {2, 4, 5}}

func (r *warpedRow) sums() (s rowSums) {
	for i, g := range r.g {
		for j := i; j < 3; j++ {
			s.squares[pair[i][j]] = sumPowers(g, r.g[j])
		}
		s.onImage[i], s.onTemplate[i], s.onMask[i] = sumPowers(g, r.image), sumPowers(g, r.template), sumPowers(g, r.mask)
	}
	for x, inside := range r.mask {
		if i, t := r.image[x], r.template[x]; inside != 0 {
			s.overlap.add(overlap{1, i, t, i * i, t * t, i * t})
		}
	}
	return s
}

func sumPowers(a, b []float64) powers {
	b = b[:len(a)]
	var s0, s1, s2, x float64
	for i, a := range a {
		p := a * b[i]
		px := p * x
		s0 += p
		s1 += px
		s2 += px * x
		x++
	}
	return powers{s0, s1, s2}
}

// overlap sums both images, their squares and their product over the mask.
type overlap struct{ n, i, t, ii, tt, it float64 }

func (o *overlap) add(p overlap) {
	o.n += p.n
	o.i += p.i
	o.t += p.t
	o.ii += p.ii
	o.tt += p.tt
	o.it += p.it
}

// equations are the sums over all pixels: the Hessian JᵀJ (its lower triangle), and J projected on I, T and the mask.
type equations struct {
	overlap
	hessian               matrix
	image, template, mask vector
}

type (
	vector [8]float64
	matrix [8]vector
)

func (e *equations) add(r *rowSums, y float64) {
	e.overlap.add(r.overlap)
	power, factor := [3]int{1, 0, 0}, [3]float64{1, y, 1} // of x, and y, in x, y and 1
	for k := range 8 {
		a, i := k/3, k%3
		e.image[k] += r.onImage[i][power[a]] * factor[a]
		e.template[k] += r.onTemplate[i][power[a]] * factor[a]
		e.mask[k] += r.onMask[i][power[a]] * factor[a]
		for l := range k + 1 {
			b, j := l/3, l%3
			e.hessian[k][l] += r.squares[pair[i][j]][power[a]+power[b]] * factor[a] * factor[b]
		}
	}
}

// solve gives the change of the parameters that maximises the correlation, or says why there is none.
func (e *equations) solve() (change vector, problem string) {
	meanI, meanT := e.i/e.n, e.t/e.n
	normI, normT := e.ii-e.n*meanI*meanI, e.tt-e.n*meanT*meanT // squares of norms
	if !(normI > 1e-12*e.ii && normT > 1e-12*e.tt) {
		return change, "nothing is left to compare, or it has no contrast"
	}
	correlation := e.it - e.n*meanI*meanT
	var image, template vector // J projected on the images with their means removed
	for k := range 8 {
		image[k] = e.image[k] - meanI*e.mask[k]
		template[k] = e.template[k] - meanT*e.mask[k]
	}
	root, ok := e.hessian.cholesky()
	if !ok {
		return change, "there is too little detail to align"
	}
	byImage, byTemplate := root.solve(image), root.solve(template)
	gain := correlation - dot(template, byImage)
	if !(gain > 0) {
		return change, "the correlation would become smaller"
	}
	lambda := (normI - dot(image, byImage)) / gain
	for k := range 8 { // lambda·T − I, projected on J
		change[k] = lambda*byTemplate[k] - byImage[k]
	}
	return change, ""
}

// cholesky gives the lower triangle L with L·Lᵀ = m, of which only the lower triangle is read. It fails where
// m, to working precision, is not positive definite.
func (m matrix) cholesky() (l matrix, ok bool) {
	for i := range 8 {
		for j := range i + 1 {
			s := m[i][j]
			for k := range j {
				s -= l[i][k] * l[j][k]
			}
			if i > j {
				l[i][j] = s / l[j][j]
				continue
			}
			if !(s > 1e-13*m[i][i]) {
				return l, false
			}
			l[i][i] = math.Sqrt(s)
		}
	}
	return l, true
}

// solve gives x with L·Lᵀ·x = b.
func (l *matrix) solve(b vector) vector {
	for i := range 8 {
		for k := range i {
			b[i] -= l[i][k] * b[k]
		}
		b[i] /= l[i][i]
	}
	for i := 7; i >= 0; i-- {
		for k := i + 1; k < 8; k++ {
			b[i] -= l[k][i] * b[k]
		}
		b[i] /= l[i][i]
	}
	return b
}

func dot(a, b vector) (s float64) {
	for i, v := range a {
		s += v * b[i]
	}
	return s
}
