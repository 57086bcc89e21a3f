package eval

import (
	"fmt"
	"slices"
	"strings"

	"hidiff/hidiff/metrics"
)

// Protocol is a way to score.
type Protocol string

// The protocols.
const (
	BasicSR  Protocol = "basicsr"
	Matlab   Protocol = "matlab"
	RealBlur Protocol = "realblur"
)

// Protocols are all there are.
var Protocols = []Protocol{BasicSR, Matlab, RealBlur}

// Scorer scores by a protocol.
type Scorer struct {
	Protocol
	PSNR, SSIM metrics.Options // of BasicSR alone: crop_border and test_y_channel of an option file's metrics
}

// NewScorer returns the scorer of a protocol by its name.
func NewScorer(name string) (Scorer, error) {
	if !slices.Contains(Protocols, Protocol(name)) {
		return Scorer{}, fmt.Errorf("%s is no protocol: it must be basicsr, matlab or realblur", name)
	}
	return Scorer{Protocol: Protocol(name)}, nil
}

// Default returns how the published scores of a dataset were computed: matlab for GoPro and HIDE, realblur for
// the RealBlur sets; basicsr for all others.
func Default(dataset string) []Scorer {
	switch name := plainName(dataset); {
	case name == "gopro" || name == "hide":
		return []Scorer{{Protocol: Matlab}}
	case strings.HasPrefix(name, "realblur"):
		return []Scorer{{Protocol: RealBlur}}
	}
	return []Scorer{{Protocol: BasicSR}}
}

// plainName is a dataset's name in lower case, its words joined by _.
func plainName(dataset string) string {
	return strings.ReplaceAll(strings.ToLower(dataset), "-", "_")
}

// Score compares a result with its target. It fails where they cannot be compared; a *metrics.AlignmentError
// says that they could not be aligned.
func (s Scorer) Score(result, target metrics.Image) (psnr, ssim float64, err error) {
	switch s.Protocol {
	case RealBlur:
		r, err := metrics.RealBlur(result, target)
		return r.PSNR, r.SSIM, err
	case Matlab:
		if psnr, err = metrics.MatlabPSNR(result, target); err == nil {
			ssim, err = metrics.MatlabSSIM(result, target)
		}
	default:
		if psnr, err = metrics.PSNR(result, target, s.PSNR); err == nil {
			ssim, err = metrics.SSIM(result, target, s.SSIM)
		}
	}
	return psnr, ssim, err
}

// Sentence explains the protocol.
func (s Scorer) Sentence() string {
	switch s.Protocol {
	case Matlab:
		return "MATLAB's psnr and ssim of 8-bit images, ssim over height, width and channels as one volume: the paper's way for GoPro and HIDE."
	case RealBlur:
		return "The RealBlur benchmark: brightness is matched and a homography found (ECC) that aligns the result with the target, then PSNR and SSIM are taken where both overlap."
	}
	of := func(o metrics.Options) string {
		text := "RGB"
		if o.YChannel {
			text = "the Y channel"
		}
		if o.CropBorder > 0 {
			text += fmt.Sprintf(", less a border of %d pixels", o.CropBorder)
		}
		return text
	}
	channels := " of " + of(s.PSNR)
	if s.PSNR != s.SSIM {
		channels = fmt.Sprintf(", of %s and %s", of(s.PSNR), of(s.SSIM))
	}
	return "BasicSR's calculate_psnr and calculate_ssim" + channels + ", of 8-bit images: as in validation during training."
}
