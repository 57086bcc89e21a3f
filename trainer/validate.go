package trainer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hidiff/hidiff/metrics"
	"hidiff/hidiff/options"
	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
	"hidiff/internal/streams"
	"hidiff/tensor"
	"hidiff/trainer/dataset"
	"hidiff/trainer/internal/experiment"
)

// valSet is a dataset to validate on.
type valSet struct {
	name string
	data *dataset.Dataset
}

// pairsOf says what of a section concerns opening its dataset.
func pairsOf(d *options.DatasetSection) dataset.Options {
	return dataset.Options{
		DatarootLQ: d.DatarootLQ, DatarootGT: d.DatarootGT, FilenameTmpl: d.FilenameTmpl, MetaInfoFile: d.MetaInfoFile,
		GTSize: d.GTSize, SkipBad: d.OnBadImage == options.SkipBadImage,
	}
}

// drawing says what of a section concerns drawing batches, accumulate of them for
// each iteration, after some iterations are done.
func drawing(d *options.DatasetSection, accumulate, done int, seed uint64, skipped func(path string, err error)) dataset.LoaderOptions {
	return dataset.LoaderOptions{
		Seed: seed, BatchSize: d.BatchSizePerGPU, EnlargeRatio: d.DatasetEnlargeRatio, GeometricAugs: d.GeometricAugs,
		Phase: func(batch int) (miniBatch, size int) {
			_, p := d.PhaseAt((batch-1)/accumulate + 1)
			return p.MiniBatchSize, p.GTSize
		},
		Start: done * accumulate, Workers: d.NumWorkerPerGPU, OnSkip: skipped,
	}
}

func openValidation(ctx context.Context, o *options.Options) (sets []valSet, err error) {
	for i := range o.Datasets {
		s := &o.Datasets[i]
		if s.Phase() != "val" {
			continue
		}
		pairs := pairsOf(s)
		pairs.GTSize, pairs.SkipBad = 0, false // over fewer photos, the numbers would be others
		data, err := dataset.Open(ctx, pairs)
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
	return r.steps.optimizer.averaged(r.steps.model.Repack, func() error { return r.validate(ctx) })
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
				v, err := score(m, restored, pair.GT)
				if err != nil {
					return fmt.Errorf("validation, %s: %w", pair.Name, err)
				}
				sums[k] += v
			}
			if i == 0 {
				r.watch.Image(r.iter, set.name+"/"+pair.Name, restored.Image())
			}
			if r.Val.SaveImg {
				if err := r.keepPicture(set, pair.Name, restored); err != nil {
					return err
				}
			}
		}
		report := valReport{Iter: r.iter, Dataset: set.name, Note: r.note(small)}
		for k, m := range r.Val.Metrics {
			v := sums[k] / float64(set.data.Len())
			report.Metrics = append(report.Metrics, scalar{m.Key, v})
			report.Best = append(report.Best, r.best.Update(set.name, m.Key, experiment.BestResult{Value: v, Iter: r.iter}))
		}
		r.watch.Validation(report)
	}
	r.Device.Trim()
	return nil
}

// note says what a reader must know to judge the numbers.
func (r *run) note(small bool) string {
	var notes []string
	if r.steps.model.UsesOracle() {
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
func (r *run) restore(ctx context.Context, p dataset.Pair) (out *photo.Photo, err error) {
	defer tensor.Catch(&err)
	ctx = context.WithoutCancel(ctx)
	w, h := p.LQ.Width, p.LQ.Height
	upload := func(p *photo.Photo) *tensor.Tensor {
		return tensor.FromPixels(r.Device, p.Pix, p.Max, w, h, p.Channels, (w+7)/8*8, (h+7)/8*8)
	}
	lq, gt := upload(p.LQ), upload(p.GT)
	defer lq.Release()
	defer gt.Release()
	y := r.steps.model.Validate(lq, gt, streams.Numbered(r.seed, "validation "+p.Name, 0).Uint64())
	defer y.Release()
	pix, err := y.Pixels(ctx, 255, w, h, 3)
	return &photo.Photo{Width: w, Height: h, Channels: 3, Max: 255, Pix: pix}, err
}

// score computes a metric.
func score(m options.MetricSection, got, want *photo.Photo) (float64, error) {
	eight := func(p *photo.Photo) metrics.Image {
		return metrics.FromSamples(p.Pix, p.Max, p.Width, p.Height, p.Channels)
	}
	o := metrics.Options{CropBorder: m.CropBorder, YChannel: m.TestYChannel}
	if m.Type == "calculate_ssim" {
		return metrics.SSIM(eight(got), eight(want), o)
	}
	return metrics.PSNR(eight(got), eight(want), o)
}

// checkPictures finds out before the training whether the photos that validations restore can be saved.
func (r *run) checkPictures() error {
	var outputs atomicfile.Checker
	for _, set := range r.val {
		for i := range set.data.Len() {
			if err := outputs.Check(r.exp.PicturePath(set.data.Name(i), r.Train.TotalIter)); err != nil && r.Val.SaveImg {
				return fmt.Errorf("val.save_img: %w", err)
			}
		}
	}
	return nil
}

// keepPicture saves a restored photo as visualization/<name>/<name>_<iter>.png,
// as BasicSR does.
func (r *run) keepPicture(set valSet, name string, p *photo.Photo) error {
	path := r.exp.PicturePath(name, r.iter)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return photo.Save(path, p, photo.EncodeOptions{Format: photo.PNG})
}
