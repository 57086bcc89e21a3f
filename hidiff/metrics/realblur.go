package metrics

import (
	"fmt"
	"math"
)

// RealBlurScore is what [RealBlur] finds.
type RealBlurScore struct {
	PSNR, SSIM float64
	Homography [9]float64 // row-major; takes a pixel (x, y, 1) of the target to its place in the result, up to scale
}

// AlignmentError says that a result could not be aligned with its target, as when cv2.findTransformECC
// raises StsNoConv: the pair has no score.
type AlignmentError struct {
	Iteration int // of ECC, counted from 1; 0 where it was not ECC that failed
	Reason    string
}

func (e *AlignmentError) Error() string {
	at := ""
	if e.Iteration > 0 {
		at = fmt.Sprintf(" (ECC iteration %d)", e.Iteration)
	}
	return fmt.Sprintf("the result cannot be aligned with its target: %s%s", e.Reason, at)
}

// RealBlur scores a result against its target as the RealBlur benchmark does: with result R and target T in 0..1,
//
//  1. R is scaled by Σ T·R / Σ R², and aligned with T in grey ([AlignmentError] if that fails);
//  2. R is warped by the homography found, cubically, with a reflected border (cv2.warpPerspective);
//     the mask holds the pixels of T whose nearest place lies in R; both images are zero outside of it;
//  3. PSNR = 10·log10(1 / mean of (T − R)² over the mask), +Inf for equal images;
//  4. SSIM is the mean over channels and over the mask, less 5 pixels along each edge, of the map of
//     skimage.metrics.structural_similarity(gaussian_weights=True, use_sample_covariance=False, data_range=1).
func RealBlur(result, target Image) (RealBlurScore, error) {
	if err := checkPair(result, target); err != nil {
		return RealBlurScore{}, err
	}
	if result.Width < window || result.Height < window {
		return RealBlurScore{}, fmt.Errorf("RealBlur's SSIM needs %d×%d pixels, not %d×%d", window, window, result.Width, result.Height)
	}
	scale, err := intensityScale(result, target)
	if err != nil {
		return RealBlurScore{}, err
	}
	h, err := findHomography(target.grey(1), result.grey(scale))
	if err != nil {
		return RealBlurScore{}, err
	}
	return scoreAligned(result, target, scale, h)
}

// intensityScale is Σ T·R / Σ R².
func intensityScale(result, target Image) (float64, error) {
	products, squares := 0, 0
	for i, r := range result.Pix {
		products += int(r) * int(target.Pix[i])
		squares += int(r) * int(r)
	}
	if squares == 0 {
		return 0, &AlignmentError{0, "it is black"}
	}
	return float64(products) / float64(squares), nil
}

// grid is one channel in memory.
type grid struct {
	width, height int
	pix           []float64
}

func newGrid(width, height int) grid { return grid{width, height, make([]float64, width*height)} }

func (g grid) plane() plane {
	return plane{g.width, g.height, func(y int, row []float64) { copy(row, g.row(y)) }}
}

func (g grid) row(y int) []float64 { return g.pix[y*g.width : (y+1)*g.width] }

// grey is the luma of ITU-R BT.601 times scale, 1 for white. cv2.cvtColor(COLOR_RGB2GRAY).
func (m Image) grey(scale float64) grid {
	g := newGrid(m.Width, m.Height)
	scale /= 255
	for i := range g.pix {
		if p := m.Pix[i*m.Channels:]; m.Channels == 1 {
			g.pix[i] = scale * float64(p[0])
		} else {
			g.pix[i] = scale * (0.299*float64(p[0]) + 0.587*float64(p[1]) + 0.114*float64(p[2]))
		}
	}
	return g
}

// scoreAligned scores the result, times scale and warped by h, over the mask.
func scoreAligned(result, target Image, scale float64, h homography) (RealBlurScore, error) {
	warped, mask := warpCubic(result, scale, h)
	inside := 0.0
	for y := radius; y < mask.height-radius; y++ {
		inside += sum(mask.row(y)[radius : mask.width-radius])
	}
	if inside == 0 {
		return RealBlurScore{}, &AlignmentError{0, "they do not overlap"}
	}
	squares, ssim := 0.0, 0.0
	for c, g := range warped {
		r, t := g.plane(), target.masked(c, mask)
		squares += squaredError(r, t)
		rows := make([]float64, mask.height-2*radius)
		eachSSIM(mask.width, mask.height, 1, pairMoments(r, t), func(y int, ssim []float64) {
			weights := mask.row(y + radius)[radius:]
			for x, v := range ssim {
				rows[y] += v * weights[x]
			}
		})
		ssim += sum(rows) / inside
	}
	n := float64(len(warped))
	return RealBlurScore{10 * math.Log10(n*sum(mask.pix)/squares), ssim / n, h}, nil
}

// masked is channel c in 0..1, times the mask.
func (m Image) masked(c int, mask grid) plane {
	channel := m.channel(c, 0)
	return plane{m.Width, m.Height, func(y int, row []float64) {
		channel.read(y, row)
		for x, inside := range mask.row(y) {
			row[x] = row[x] / 255 * inside
		}
	}}
}
