package trainer

import (
	"context"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
	"hidiff/internal/streams"
	"hidiff/tensor"
)

// valSet is a dataset to validate on.
type valSet struct {
	name string
	data *Dataset
}

// open says what of a section concerns opening its dataset.
func (d *DatasetSection) open() DatasetOptions {
	return DatasetOptions{
		DatarootLQ: d.DatarootLQ, DatarootGT: d.DatarootGT, FilenameTmpl: d.FilenameTmpl, MetaInfoFile: d.MetaInfoFile,
		GTSize: d.GTSize, OnBadImage: d.OnBadImage,
	}
}

// load says what of a section concerns drawing batches, accumulate of them for
// each iteration, after some iterations are done.
func (d *DatasetSection) load(accumulate, done int, seed uint64, skipped func(path string, err error)) LoaderOptions {
	return LoaderOptions{
		Seed: seed, BatchSize: d.BatchSizePerGPU, EnlargeRatio: d.DatasetEnlargeRatio, GeometricAugs: d.GeometricAugs,
		Phase: func(batch int) (miniBatch, size int) {
			_, p := d.PhaseAt((batch-1)/accumulate + 1)
			return p.MiniBatchSize, p.GTSize
		},
		Start: done * accumulate, Workers: d.NumWorkerPerGPU, OnSkip: skipped,
	}
}

func openValidation(ctx context.Context, o *Options) (sets []valSet, err error) {
	for i := range o.Datasets {
		s := &o.Datasets[i]
		if s.Phase() != "val" {
			continue
		}
		d := s.open()
		d.GTSize, d.OnBadImage = 0, FailOnBadImage // over fewer photos, the numbers would be others
		data, err := OpenDataset(ctx, d)
		if err != nil {
			return sets, err
		}
		sets = append(sets, valSet{s.Name, data})
	}
	return sets, nil
}

// validateAveraged validates the moving average, where one is kept, as BasicSR
// does.
func (r *run) validateAveraged(ctx context.Context) error {
	return r.optimizer.averaged(r.model.Repack, func() error { return r.validate(ctx) })
}

// validate restores all photos of all datasets, and reports the metrics'
// means. It returns [ErrStopped] where ctx ends before.
func (r *run) validate(ctx context.Context) error {
	for _, set := range r.val {
		sums := make([]float64, len(r.Val.Metrics))
		small := true // as the crops that GoPro is validated on
		for i := range set.data.Len() {
			if ctx.Err() != nil {
				return ErrStopped
			}
			pair, err := set.data.Pair(i)
			if err != nil {
				return err
			}
			small = small && pair.LQ.Width <= 256 && pair.LQ.Height <= 256
			restored, err := r.restore(ctx, pair)
			if err != nil {
				return fmt.Errorf("validation, %s: %w", pair.Name, err)
			}
			for k, m := range r.Val.Metrics {
				v, err := m.score(restored, metrics.FromSamples(pair.GT.Pix, pair.GT.Max, pair.GT.Width, pair.GT.Height, pair.GT.Channels))
				if err != nil {
					return fmt.Errorf("validation, %s: %w", pair.Name, err)
				}
				sums[k] += v
			}
			if i == 0 {
				r.watch.Image(r.iter, set.name+"/"+pair.Name, picture(restored))
			}
			if r.Val.SaveImg {
				if err := r.keepPicture(set, pair.Name, restored); err != nil {
					return err
				}
			}
		}
		report := ValReport{Iter: r.iter, Dataset: set.name, Note: r.note(small)}
		for k, m := range r.Val.Metrics {
			v := sums[k] / float64(set.data.Len())
			report.Metrics = append(report.Metrics, Scalar{m.Key, v})
			report.Best = append(report.Best, r.best.update(set.name, m.Key, BestResult{v, r.iter}))
		}
		r.watch.Validation(report)
	}
	r.d.Trim()
	return nil
}

// note says what a reader must know to judge the numbers.
func (r *run) note(small bool) string {
	var notes []string
	if r.model.UsesOracle() {
		notes = append(notes, "with the oracle prior, which sees the sharp photo")
	}
	if r.Train.EMADecay > 0 {
		notes = append(notes, "of the weights' moving average")
	}
	if small {
		notes = append(notes, "on crops, not whole photos")
	}
	return strings.Join(notes, "; ")
}

// restore restores a photo as RGB of 8 bits.
func (r *run) restore(ctx context.Context, p Pair) (out metrics.Image, err error) {
	defer tensor.Catch(&err)
	ctx = context.WithoutCancel(ctx)
	w, h := p.LQ.Width, p.LQ.Height
	upload := func(p *photo.Photo) *tensor.Tensor {
		return tensor.FromPixels(r.d, p.Pix, p.Max, w, h, p.Channels, (w+7)/8*8, (h+7)/8*8)
	}
	lq, gt := upload(p.LQ), upload(p.GT)
	defer lq.Release()
	defer gt.Release()
	y := r.model.Validate(lq, gt, streams.Numbered(r.seed, "validation "+p.Name, 0).Uint64())
	defer y.Release()
	pix, err := y.Pixels(ctx, 255, w, h, 3)
	if err != nil {
		return out, err
	}
	return metrics.FromSamples(pix, 255, w, h, 3), nil
}

// score computes a metric.
func (m MetricSection) score(got, want metrics.Image) (float64, error) {
	o := metrics.Options{CropBorder: m.CropBorder, YChannel: m.TestYChannel}
	if m.Type == "calculate_ssim" {
		return metrics.SSIM(got, want, o)
	}
	return metrics.PSNR(got, want, o)
}

func picture(m metrics.Image) image.Image {
	out := image.NewNRGBA(image.Rect(0, 0, m.Width, m.Height))
	for i := range m.Width * m.Height {
		copy(out.Pix[4*i:], m.Pix[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out
}

// checkPictures finds out before the training whether the photos that validations restore can be saved.
func (r *run) checkPictures() error {
	var outputs atomicfile.Checker
	for _, set := range r.val {
		for i := range set.data.Len() {
			if err := outputs.Check(r.exp.picturePath(set.data.Name(i), r.Train.TotalIter)); err != nil && r.Val.SaveImg {
				return fmt.Errorf("val.save_img: %w", err)
			}
		}
	}
	return nil
}

// keepPicture saves a restored photo as visualization/<name>/<name>_<iter>.png,
// as BasicSR does.
func (r *run) keepPicture(set valSet, name string, m metrics.Image) error {
	p := &photo.Photo{Width: m.Width, Height: m.Height, Channels: 3, Max: 255, Pix: make([]uint16, len(m.Pix))}
	for i, v := range m.Pix {
		p.Pix[i] = uint16(v)
	}
	path := r.exp.picturePath(name, r.iter)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return photo.Save(path, p, photo.EncodeOptions{Format: photo.PNG})
}
