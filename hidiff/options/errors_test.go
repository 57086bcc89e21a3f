package options

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTellsEveryMistake(t *testing.T) {
	_, err := Parse("bad.yml", []byte(`nam: x
model_type: HI_Diff_S3
scale: 4
num_gpu: few
datasets:
  train:
    type: PairedDataset
    dataroot_gt: [a]
    dataroot_lq: lq
    filename_tmpl: x
    io_backend: {type: disc}
    gt_size: 100
    gt_sizes: [32, 36, 136]
    iters: [10, -1]
    mini_batch_sizes: [4, 0, 1]
    batch_size_per_gpu: 2
  validation:
    name: a/b
    dataroot_gt: x
    dataroot_lq: x
path: 5
train:
  total_itr: 10
  warmup_iter: 1.5
  use_grad_clip: maybe
  accumulate: 0
  checkpointing: sometimes
  mixing_augs: {mixup: true}
  optim_total: {type: SGD, lr: 0, betas: [0.9], wd: 3, eps: .nan}
  scheduler: {type: LinearLR, eta_min: 0, period: 1}
  pixel_opt: {type: L2Loss, reduction: none, loss_weight: 'one'}
val:
  metrics: {lpips: {type: calculate_lpips, crop_border: -1}, psnr: [1]}
logger: {print_freq: 0}
`), nil)
	require.EqualError(t, err, `bad.yml: name: is missing
bad.yml:1: nam: there is no such option: did you mean name?
bad.yml:2: model_type: HI_Diff_S3 is not known: did you mean HI_Diff_S1?
bad.yml:3: scale: is 4: it must be 1, as restoration does not enlarge
bad.yml:4: num_gpu: must be auto or a number from 1, not the text "few"
bad.yml:7: datasets.train.type: PairedDataset is not known: it must be PairedImageIRDataset
bad.yml:8: datasets.train.dataroot_gt: must be text, not a list
bad.yml:10: datasets.train.filename_tmpl: is "x": it must contain {} once, which stands for the name of gt
bad.yml:11: datasets.train.io_backend.type: disc is not known: did you mean disk?
bad.yml:13: datasets.train.gt_sizes[1]: is 36: it must be a multiple of 8, as net_g halves its input three times
bad.yml:13: datasets.train.gt_sizes[2]: is 136, more than gt_size, 100: it is cut out of that crop
bad.yml:14: datasets.train.iters[1]: is -1: it must be at least 0
bad.yml:15: datasets.train.mini_batch_sizes[0]: is 4, more than batch_size_per_gpu, 2: it is taken out of that batch
bad.yml:15: datasets.train.mini_batch_sizes[1]: is missing or 0: it must be at least 1
bad.yml:17: datasets.validation: must be train, or begin with val or test, as in val_1
bad.yml:18: datasets.validation.name: "a/b" cannot name a folder
bad.yml:21: path: must be a section of keys and values, not 5
bad.yml:22: train.total_iter: is missing or 0: it must be at least 1
bad.yml:23: train.total_itr: there is no such option: did you mean total_iter?
bad.yml:24: train.warmup_iter: must be a whole number, not 1.5
bad.yml:25: train.use_grad_clip: must be true or false, not the text "maybe"
bad.yml:26: train.accumulate: is missing or 0: it must be at least 1
bad.yml:27: train.checkpointing: must be auto, true or false, not the text "sometimes"
bad.yml:28: train.mixing_augs.mixup: mixup is not supported: set it to false
bad.yml:29: train.optim_total.betas: must have 2 numbers, not 1
bad.yml:29: train.optim_total.wd: there is no such option: there are betas, eps, lr, type, weight_decay
bad.yml:29: train.optim_total.eps: must be a number, not .nan
bad.yml:29: train.optim_total.type: SGD is not known: there are AdamW, Adam
bad.yml:29: train.optim_total.lr: is 0: it must be more than 0
bad.yml:30: train.scheduler.period: there is no such option: did you mean periods?
bad.yml:30: train.scheduler.eta_min: is no option of LinearLR
bad.yml:31: train.pixel_opt.loss_weight: must be a number, not the text "one"
bad.yml:31: train.pixel_opt.type: L2Loss is not known: did you mean L1Loss?
bad.yml:31: train.pixel_opt.reduction: none is not known: there are mean, sum
bad.yml:33: val.metrics.psnr: must be a section of keys and values, not a list
bad.yml:33: val.metrics.lpips.type: calculate_lpips is not known: there are calculate_psnr, calculate_ssim
bad.yml:33: val.metrics.lpips.crop_border: is -1: it must be at least 0
bad.yml:34: logger.print_freq: is missing or 0: it must be at least 1`)
}

func TestEachMistake(t *testing.T) {
	for force, want := range map[string]string{
		"datasets:train:iters=300000":                      "datasets.train.iters: must be a list, such as [1, 2], not 300000",
		"datasets:train:iters=[1, ~, 3, 4, 5, 6]":          "datasets.train.iters[1]: must not be empty",
		"datasets:train:gt_size=~":                         "datasets.train.gt_size: is missing or 0: it must be at least 8",
		"datasets:train:batch_size_per_gpu=~":              "datasets.train.batch_size_per_gpu: is missing or 0",
		"datasets:train:dataroot_lq=":                      "datasets.train.dataroot_lq: is missing",
		"datasets:train:name=..":                           `datasets.train.name: ".." cannot name a folder`,
		"datasets:train:dataset_enlarge_ratio=0":           "datasets.train.dataset_enlarge_ratio: is missing or 0",
		"datasets:train:num_worker_per_gpu=-1":             "datasets.train.num_worker_per_gpu: is -1",
		"datasets:train:geometric_augs=2":                  "datasets.train.geometric_augs: must be true or false, not 2",
		"datasets:train:on_bad_image=skp":                  "datasets.train.on_bad_image: skp is not known: did you mean skip?",
		"datasets:train=~":                                 "datasets.train.dataroot_gt: is missing",
		"datasets:train_2={dataroot_gt: a}":                "datasets.train_2: there is one dataset to train with, and its key is train",
		"datasets:val_2={name: ValSet}":                    "datasets.val_2.name: two datasets are called ValSet",
		"datasets={val: {dataroot_gt: a, dataroot_lq: b}}": "datasets.train: is missing",
		"datasets=~":                                    "datasets: is missing",
		"datasets=[]":                                   "datasets: must be a section of keys and values, not a list",
		"model_type=~":                                  "model_type: is missing: it must be HI_Diff_S1 or HI_Diff_S2",
		"manual_seed=-1":                                "manual_seed: is -1: it must not be negative",
		"manual_seed=1e99":                              "manual_seed: must be a whole number, not 1e99",
		"num_gpu=0":                                     "num_gpu: must be auto or a number from 1, not 0",
		"network_d=denoising":                           `network_d: must be a section of keys and values, not the text "denoising"`,
		"network_g:dim=.inf":                            "network_g.dim: must be a finite number, not .inf",
		"train:pixel_diff_opt=~":                        "train.pixel_diff_opt: is missing",
		"train:pixel_opt=~":                             "train.pixel_opt: is missing",
		"train:pixel_opt:loss_weight=-1":                "train.pixel_opt.loss_weight: is -1: it must not be negative",
		"train:clip_grad_norm=0":                        "train.clip_grad_norm: is 0: it must be more than 0",
		"train:ema_decay=1":                             "train.ema_decay: is 1: it must be from 0 to below 1",
		"train:optim_total=~":                           "train.optim_total.type: is missing: it must be AdamW or Adam",
		"train:optim_total:betas=[0.9, 1]":              "train.optim_total.betas[1]: is 1: it must be from 0 to below 1",
		"train:optim_total:weight_decay=-1":             "train.optim_total.weight_decay: is -1: it must not be negative",
		"train:mixing_augs={mixup: perhaps}":            "train.mixing_augs.mixup: mixup is not supported",
		"train:scheduler={type: MultiStepLR, gamma: 0}": "train.scheduler.gamma: must be a number of more than 0",
		"train:scheduler:type=CosineAnealingRestartLR":  "train.scheduler.type: CosineAnealingRestartLR is not known: did you mean CosineAnnealingRestartLR?",
		"train:scheduler:type=":                         "train.scheduler.type: is missing: it must be CosineAnnealingRestartCyclicLR or ",
		"train:scheduler={eta_min: 1e-6}":               "train.scheduler.type: is missing",
		"train:scheduler:eta_mins=[0, 0, 0]":            "train.scheduler.eta_mins: has 3 numbers, and periods 2: they must agree",
		"val:val_freq=-1":                               "val.val_freq: is -1",
		"val:{}=1":                                      "val.{}: there is no such option: there are ",
		"logger:save_checkpoint_freq=0":                 "logger.save_checkpoint_freq: is missing or 0",
		"path:strict_load_g='true'":                     `path.strict_load_g: must be true or false, not the text "true"`,
		"path:pretrain_network_x=a":                     "path.pretrain_network_x: there is no such option: did you mean pretrain_network_d?",
		"name=a\\b":                                     `name: "a\\b" cannot name a folder`,
		"<<=1":                                          "<<: there is no such option",
	} {
		_, err := Load("GoPro_S2", set(force))
		require.ErrorContains(t, err, "forced "+force+": "+want)
	}
}

func TestPhasesMustAgree(t *testing.T) {
	for _, force := range []string{"iters=[1, 2]", "gt_sizes=[64]", "mini_batch_sizes=~"} {
		_, err := Load("GoPro_S2", set("datasets:train:"+force))
		require.ErrorContains(t, err, "GoPro_S2:8: datasets.train: iters has ")
		require.ErrorContains(t, err, ": each phase needs one of each")
	}
	o, err := Load("GoPro_S2", set("datasets:train:iters=~", "datasets:train:gt_sizes=~", "datasets:train:mini_batch_sizes=~"))
	require.NoError(t, err)
	require.Len(t, o.Dataset("train").Phases(), 1)
	_, err = Load("GoPro_S2", set("datasets:train:iters=~", "datasets:train:gt_sizes=~", "datasets:train:mini_batch_sizes=~", "datasets:train:gt_size=12"))
	require.ErrorContains(t, err, "datasets.train.gt_size: is 12: it must be a multiple of 8")
}

func TestNoOptionFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "x.yml: name: is missing\nx.yml: model_type: is missing: it must be HI_Diff_S1 or HI_Diff_S2\nx.yml: datasets: is missing",
		"# nothing":                             "x.yml: name: is missing",
		"---":                                   "x.yml:2: an option file is a list of keys and values, not nothing",
		"- 1":                                   "x.yml:1: an option file is a list of keys and values, not a list",
		"!x |\n  a\n  b\n":                      "x.yml:1: an option file is a list of keys and values, not the text \"a\\nb\\n\"",
		"a: 1\n b: 2":                           "x.yml:2: this is no YAML: mapping values are not allowed in this context",
		"a: [1":                                 "x.yml:1: this is no YAML: ",
		"\x00":                                  "x.yml is no text file: it has NUL bytes; save it as UTF-8",
		"name: a\n---\nname: b":                 "x.yml:2: a second document begins",
		"name: x\n\ttrain:\n":                   "x.yml:2: this line begins with a tab, which YAML does not allow: use spaces",
		"name: x\ntrain:\n  \ttotal_iter: 1\n":  "x.yml:3: this line begins with a tab",
		"name: x\ntrain:\n  a: 1\n\tb: 2\n":     "x.yml:4: this line begins with a tab",
		"name: @x\ntrain:\n\n\ttotal_iter: 1\n": "this is no YAML: found character that cannot start any token",
		"name: &n a\ntrain: *n":                 "x.yml:2: train: must be a section of keys and values, not the text \"a\"",
		"name: *n":                              "this is no YAML: unknown anchor 'n' referenced",
		"path: &p {x: *p}":                      "x.yml:1: path.x: *p refers to itself",
		"path: &p\n  <<: *p":                    "x.yml:2: path.<<: *p refers to itself",
		"name: &n a\ntrain:\n  <<: *n":          "x.yml:3: train.<<: must name a section of keys and values, or a list of such, not the text \"a\"",
		"train:\n  <<: [{total_iter: 5}, 7]":    "x.yml:2: train.<<: must name a section of keys and values, or a list of such, not 7",
		"x: &unused {a: 1}":                     "x.yml:1: x: there is no such option",
		"path: {x: &x {}}\n'y': {z: *x}":        "x.yml:2: y: there is no such option",
		"train: {<<: {total_itr: 5}}":           "x.yml:1: train.total_itr: there is no such option: did you mean total_iter?",
		"? [a]\n: b":                            "x.yml:1: a key must be a word, not a list",
		"datasets: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000): "is nested too deeply",
	} {
		_, err := Parse("x.yml", []byte(text), nil)
		require.ErrorContains(t, err, want)
		require.Less(t, len(err.Error()), 3000)
	}
}

func TestIneffectiveOptionsAreTold(t *testing.T) {
	o, err := Load("GoPro_S1", set(
		"train:pixel_diff_opt={type: L1Loss}", "train:use_grad_clip=no", "train:clip_grad_norm=5", "datasets:val:use_shuffle=true",
		"datasets:train:use_shuffle=true", "val:selfensemble_testing=true", "train:mixing_augs={mixup: ~}",
		"datasets:val:on_bad_image=skip",
	))
	require.NoError(t, err)
	require.Nil(t, o.Train.PixelDiffOpt)
	require.Zero(t, o.Train.ClipGradNorm)
	require.Equal(t, FailOnBadImage, o.Dataset("val").OnBadImage)
	require.Len(t, o.Warnings, 6, "use_shuffle once")
	for i, want := range []string{
		"datasets.val.on_bad_image: has no effect: only photos to train on", "train.mixing_augs: has no effect: mixup is off", "val.selfensemble_testing: has no effect", "datasets.train.use_shuffle: has no effect",
		"train.clip_grad_norm: has no effect: use_grad_clip is false", "train.pixel_diff_opt: has no effect: stage 1 has no diffusion",
	} {
		require.Contains(t, o.Warnings[i], want)
	}
}

func TestValidate(t *testing.T) {
	o, err := Load("GoPro_S2", nil)
	require.NoError(t, err)
	require.NoError(t, o.Validate())
	o.Name, o.Train.TotalIter = "", -1
	require.EqualError(t, o.Validate(), "name: is missing\ntrain.total_iter: is -1: it must be at least 1")
	require.Error(t, new(Options).Validate())
}

// FuzzOptions reads text as an option file, and what it says again from the YAML of it.
func FuzzOptions(f *testing.F) {
	for _, name := range Presets() {
		text, _ := Preset(name)
		f.Add(text, "train:total_iter=100")
	}
	for _, text := range []string{
		"name: &a [*a]", "<<: {a: b}\nname: x", "datasets: {train: {iters: [[1]]}}", "? {a: b}\n: c", "network_g: {a: {b: [1, 2.5, ~, yes, '1', .inf]}}",
		"train: {total_iter: !!int x, optim_total: !!float 3}", "name: !!binary aGk=\nmodel_type: 2001-01-01", "a: |\n  b\n", "!: |\n |\n  ", "\xef\xbb\xbfname: x", "%YAML 1.1\n---\nname: 1",
	} {
		f.Add([]byte(text), "a:b:c={d: 1}")
	}
	f.Fuzz(func(t *testing.T, text []byte, force string) {
		o, err := Parse("x.yml", text, set(force))
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "x.yml") && !strings.HasPrefix(line, "forced "+strings.ReplaceAll(force, "\n", `\n`)) {
					t.Fatalf("a mistake without the file: %s", err)
				}
			}
			return
		}
		again, err := o.YAML()
		require.NoError(t, err)
		o2, err := Parse("x.yml", again, nil)
		require.NoError(t, err, "%s", again)
		require.Equal(t, anywhere(o), anywhere(o2), "%s", again)
	})
}
