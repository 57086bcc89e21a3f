package options

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pairedDataset is the one known type of dataset.
const pairedDataset = "PairedImageIRDataset"

// Limits that no sensible training comes near; within them, no sum or product overflows.
const (
	maxIter  = 1 << 31
	maxBatch = 1 << 16
	maxCrop  = 1 << 14
)

// cropStep divides the sides of training crops: the Transformer halves them three times.
const cropStep = 8

func (o *Options) networks() map[*NetworkSection]string {
	return map[*NetworkSection]string{
		&o.NetworkG: "network_g", &o.NetworkLE: "network_le", &o.NetworkLEDM: "network_le_dm", &o.NetworkD: "network_d",
		&o.Diffusion: "diffusion_schedule",
	}
}

// options reads the tree, fills in what depends on other options, and checks all.
func (r *optionReader) options(root *yaml.Node, o *Options) {
	r.section("", root, reflect.ValueOf(o).Elem())
	if n := lookup(root, "train", "mixing_augs", "mixup"); n != nil && !isNull(n) {
		r.lines["train.mixing_augs.mixup"] = n.Line
		if on, ok := boolean(n); on || !ok {
			r.fail("train.mixing_augs.mixup", "mixup is not supported: set it to false")
		}
	}
	for i := range o.Datasets {
		d := &o.Datasets[i]
		for _, path := range []*string{&d.DatarootGT, &d.DatarootLQ, &d.MetaInfoFile} {
			*path = expandUser(*path)
		}
		if at := "datasets." + d.Key + ".on_bad_image"; d.Phase() != "train" && d.OnBadImage == SkipBadImage {
			d.OnBadImage = FailOnBadImage
			r.warnAt(r.line(at), at, "has no effect: only photos to train on are passed over, as numbers over fewer photos would be others")
		}
	}
	p := &o.Path
	for _, path := range []*string{&p.PretrainNetworkG, &p.PretrainNetworkLE, &p.PretrainNetworkLEDM, &p.PretrainNetworkD, &p.ResumeState} {
		*path = expandUser(*path)
	}
	if t := o.Train; t != nil {
		r.train(o, t)
	}
	before := r.mistakes
	o.check(func(path, format string, args ...any) {
		// A default stands in for what could not be read: it proves nothing.
		if !slices.ContainsFunc(before, func(m remark) bool { return within(m.path, path) || within(path, m.path) }) {
			r.fail(path, format, args...)
		}
	})
}

// within says whether an option is the section, or in it.
func within(option, section string) bool {
	rest, ok := strings.CutPrefix(option, section)
	return ok && option != "" && section != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (r *optionReader) train(o *Options, t *TrainOptions) {
	_, given := r.lines["train.clip_grad_norm"]
	switch {
	case t.UseGradClip && !given:
		t.ClipGradNorm = 0.01
	case !t.UseGradClip && given:
		t.ClipGradNorm = 0
		r.warnAt(r.line("train.clip_grad_norm"), "train.clip_grad_norm", "has no effect: use_grad_clip is false")
	}
	if o.ModelType == HIDiffS1 && t.PixelDiffOpt != nil {
		r.warnAt(r.line("train.pixel_diff_opt"), "train.pixel_diff_opt", "has no effect: stage 1 has no diffusion")
		t.PixelDiffOpt = nil
	}
	if strings.Contains(o.Name, "debug") {
		r.warnAt(r.line("name"), "name", `contains "debug": prints every iteration, validates and saves every 8`)
		o.Debug()
	}
}

// expandUser puts the home directory for a leading ~.
func expandUser(path string) string {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && !os.IsPathSeparator(rest[0]) {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return filepath.Join(home, rest)
}

// Validate returns every wrong value, each by its option, as one joined error.
func (o *Options) Validate() error {
	var found []error
	o.check(func(path, format string, args ...any) {
		found = append(found, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
	})
	return errors.Join(found...)
}

// complaint receives the path of a wrong option and what is wrong with it.
type complaint func(path, format string, args ...any)

func (fail complaint) missing(path string) { fail(path, "is missing") }

func (fail complaint) required(path, value string) {
	if value == "" {
		fail.missing(path)
	}
}

func (fail complaint) oneOf(path, value string, known ...string) {
	switch {
	case value == "":
		fail(path, "is missing: it must be %s", strings.Join(known, " or "))
	case len(known) == 1 && value != known[0]:
		fail(path, "%s is not known: it must be %s", value, known[0])
	case !slices.Contains(known, value):
		fail(path, "%s is not known%s", value, suggestion(value, known))
	}
}

func (fail complaint) between(path string, value, least, most int) {
	switch {
	case value == 0 && least > 0:
		fail(path, "is missing or 0: it must be at least %d", least)
	case value < least:
		fail(path, "is %d: it must be at least %d", value, least)
	case value > most:
		fail(path, "is %d: it must be at most %d", value, most)
	}
}

func (fail complaint) positive(path string, value float64) {
	if !(value > 0) { // so written for NaN
		fail(path, "is %g: it must be more than 0", value)
	}
}

func (fail complaint) notNegative(path string, value float64) {
	if !(value >= 0) {
		fail(path, "is %g: it must not be negative", value)
	}
}

func (fail complaint) fraction(path string, value float64) {
	if !(value >= 0 && value < 1) {
		fail(path, "is %g: it must be from 0 to below 1", value)
	}
}

// folderName checks a name that becomes a folder's.
func (fail complaint) folderName(path, value string) {
	switch {
	case value == "":
		fail.missing(path)
	case value == "." || value == ".." || strings.ContainsAny(value, "/\\\x00"):
		fail(path, "%q cannot name a folder", value)
	}
}

func (o *Options) check(fail complaint) {
	fail.folderName("name", o.Name)
	fail.oneOf("model_type", o.ModelType, HIDiffS1, HIDiffS2)
	if o.Scale != 1 {
		fail("scale", "is %d: it must be 1, as restoration does not enlarge", o.Scale)
	}
	if o.ManualSeed < 0 {
		fail("manual_seed", "is %d: it must not be negative", o.ManualSeed)
	}
	if len(o.Datasets) == 0 {
		fail.missing("datasets")
	}
	names := map[string]bool{}
	for i := range o.Datasets {
		d := &o.Datasets[i]
		d.check("datasets."+d.Key, fail)
		if names[d.Name] && d.Phase() != "train" {
			fail("datasets."+d.Key+".name", "two datasets are called %s", d.Name)
		}
		names[d.Name] = names[d.Name] || d.Phase() != "train"
	}
	if t := o.Train; t != nil {
		if len(o.Datasets) > 0 && o.Dataset("train") == nil {
			fail.missing("datasets.train")
		}
		t.check("train", o.ModelType, fail)
	}
	fail.between("val.val_freq", o.Val.ValFreq, 0, maxIter)
	for _, m := range o.Val.Metrics {
		path := "val.metrics." + m.Key
		fail.oneOf(path+".type", m.Type, "calculate_psnr", "calculate_ssim")
		fail.between(path+".crop_border", m.CropBorder, 0, maxCrop)
	}
	fail.between("logger.print_freq", o.Logger.PrintFreq, 1, maxIter)
	fail.between("logger.save_checkpoint_freq", o.Logger.SaveCheckpointFreq, 1, maxIter)
}

func (d *DatasetSection) check(path string, fail complaint) {
	switch d.Phase() {
	case "val", "test":
	case "train":
		if d.Key != "train" {
			fail(path, "there is one dataset to train with, and its key is train")
		}
		d.checkTrain(path, fail)
	default:
		fail(path, "must be train, or begin with val or test, as in val_1")
	}
	fail.folderName(path+".name", d.Name)
	fail.oneOf(path+".type", d.Type, pairedDataset)
	fail.oneOf(path+".io_backend.type", d.IOBackend.Type, "disk", "lmdb")
	fail.required(path+".dataroot_gt", d.DatarootGT)
	fail.required(path+".dataroot_lq", d.DatarootLQ)
	fail.oneOf(path+".on_bad_image", d.OnBadImage, FailOnBadImage, SkipBadImage)
	if strings.Count(d.FilenameTmpl, "{}") != 1 {
		fail(path+".filename_tmpl", "is %q: it must contain {} once, which stands for the name of gt", d.FilenameTmpl)
	}
}

func (d *DatasetSection) checkTrain(path string, fail complaint) {
	fail.between(path+".num_worker_per_gpu", d.NumWorkerPerGPU, 0, maxBatch)
	fail.between(path+".batch_size_per_gpu", d.BatchSizePerGPU, 1, maxBatch)
	fail.between(path+".dataset_enlarge_ratio", d.DatasetEnlargeRatio, 1, maxIter)
	fail.between(path+".gt_size", d.GTSize, cropStep, maxCrop)
	batches, iters, sizes := len(d.MiniBatchSizes), len(d.Iters), len(d.GTSizes)
	if batches != iters || batches != sizes {
		fail(path, "iters has %d numbers, gt_sizes %d and mini_batch_sizes %d: each phase needs one of each", iters, sizes, batches)
	}
	for i, n := range d.MiniBatchSizes {
		if at := fmt.Sprintf("%s.mini_batch_sizes[%d]", path, i); d.BatchSizePerGPU > 0 && n > d.BatchSizePerGPU {
			fail(at, "is %d, more than batch_size_per_gpu, %d: it is taken out of that batch", n, d.BatchSizePerGPU)
		} else {
			fail.between(at, n, 1, maxBatch)
		}
	}
	for i, n := range d.Iters {
		fail.between(fmt.Sprintf("%s.iters[%d]", path, i), n, 0, maxIter)
	}
	crop := func(at string, n int) {
		if n < cropStep || n%cropStep != 0 {
			fail(at, "is %d: it must be a multiple of %d, as net_g halves its input three times", n, cropStep)
		}
	}
	if sizes == 0 {
		crop(path+".gt_size", d.GTSize)
	}
	for i, n := range d.GTSizes {
		at := fmt.Sprintf("%s.gt_sizes[%d]", path, i)
		crop(at, n)
		if d.GTSize >= cropStep && n > d.GTSize {
			fail(at, "is %d, more than gt_size, %d: it is cut out of that crop", n, d.GTSize)
		}
	}
}

func (t *TrainOptions) check(path, modelType string, fail complaint) {
	fail.between(path+".total_iter", t.TotalIter, 1, maxIter)
	fail.between(path+".warmup_iter", t.WarmupIter, -1, maxIter)
	if t.UseGradClip {
		fail.positive(path+".clip_grad_norm", t.ClipGradNorm)
	}
	fail.fraction(path+".ema_decay", t.EMADecay)
	fail.between(path+".accumulate", t.Accumulate, 1, maxBatch)

	optim := path + ".optim_total"
	fail.oneOf(optim+".type", t.OptimTotal.Type, AdamW, Adam)
	fail.positive(optim+".lr", t.OptimTotal.LR)
	fail.notNegative(optim+".weight_decay", t.OptimTotal.WeightDecay)
	for i, beta := range t.OptimTotal.Betas {
		fail.fraction(fmt.Sprintf("%s.betas[%d]", optim, i), beta)
	}
	fail.notNegative(optim+".eps", t.OptimTotal.Eps)

	t.Scheduler.check(t.TotalIter, t.WarmupIter, func(key, format string, args ...any) {
		fail(path+".scheduler."+key, format, args...)
	})
	t.PixelOpt.check(path+".pixel_opt", fail)
	if modelType == HIDiffS2 {
		t.PixelDiffOpt.check(path+".pixel_diff_opt", fail)
	}
}

func (l *LossOptions) check(path string, fail complaint) {
	if l == nil {
		fail.missing(path)
		return
	}
	fail.oneOf(path+".type", l.Type, slices.Sorted(maps.Keys(lossTypes))...)
	fail.notNegative(path+".loss_weight", l.LossWeight)
	fail.oneOf(path+".reduction", l.Reduction, slices.Sorted(maps.Keys(reductions))...)
	fail.notNegative(path+".eps", l.Eps)
}
