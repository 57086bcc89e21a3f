package options

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

const optionFixtures = "../../conformance/testdata/options"

// set makes settings of section:key=value.
func set(force ...string) (out []Setting) {
	for _, option := range force {
		out = append(out, Setting{option, "forced " + option})
	}
	return out
}

func loadFixture(t *testing.T, name string, force ...string) *Options {
	t.Helper()
	o, err := Load(filepath.Join(optionFixtures, name), set(force...))
	require.NoError(t, err)
	return o
}

// anywhere takes from options what depends on where they stand.
func anywhere(o *Options) *Options {
	out := *o
	out.File, out.Warnings = "", nil
	for section := range out.networks() {
		section.where = ""
	}
	return &out
}

func TestLoadReleasedTraining(t *testing.T) {
	o := loadFixture(t, "train_GoPro_S2.yml")
	data := DatasetSection{
		Name: "TrainSet", Key: "train", Type: "PairedImageIRDataset",
		DatarootGT: "datasets/GoPro/crop/train/target_crops", DatarootLQ: "datasets/GoPro/crop/train/input_crops",
		FilenameTmpl: "{}", IOBackend: IOBackendOptions{"disk"}, OnBadImage: FailOnBadImage,
		NumWorkerPerGPU: 4, BatchSizePerGPU: 16, DatasetEnlargeRatio: 1, GeometricAugs: true, GTSize: 384,
		MiniBatchSizes: []int{16, 10, 8, 4, 2, 2},
		Iters:          []int{20000, 20000, 20000, 20000, 20000, 200000},
		GTSizes:        []int{128, 160, 192, 256, 320, 384},
	}
	require.Equal(t, &data, o.Dataset("train"))
	val := DatasetSection{
		Name: "ValSet", Key: "val", Type: "PairedImageIRDataset",
		DatarootGT: "datasets/GoPro/crop/val/target_crops", DatarootLQ: "datasets/GoPro/crop/val/input_crops",
		FilenameTmpl: "{}", IOBackend: IOBackendOptions{"disk"}, OnBadImage: FailOnBadImage,
		NumWorkerPerGPU: 4, DatasetEnlargeRatio: 1, GeometricAugs: true,
	}
	require.Equal(t, DatasetSections{data, val}, o.Datasets)
	require.Equal(t, &TrainOptions{
		TotalIter: 300000, WarmupIter: -1, UseGradClip: true, ClipGradNorm: 0.01,
		OptimTotal: OptimOptions{Type: "AdamW", LR: 2e-4, WeightDecay: 1e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8},
		Scheduler: SchedulerOptions{
			Type: "CosineAnnealingRestartCyclicLR", Periods: []int{100000, 200000}, RestartWeights: []float64{1, 1}, EtaMins: []float64{2e-4, 1e-6},
		},
		PixelOpt:     &LossOptions{Type: "L1Loss", LossWeight: 1, Reduction: "mean"},
		PixelDiffOpt: &LossOptions{Type: "L1Loss", LossWeight: 1, Reduction: "mean"},
		Accumulate:   1, Checkpointing: Auto,
	}, o.Train)
	require.Equal(t, ValOptions{ValFreq: 4000, Metrics: MetricSections{{Key: "psnr", Type: "calculate_psnr"}}}, o.Val)
	require.Equal(t, LoggerOptions{PrintFreq: 1000, SaveCheckpointFreq: 4000, UseTBLogger: true}, o.Logger)
	require.Equal(t, Pretrained{"experiments/debug_train_HI_Diff_GoPro_S1/models/net_le_300000.pth", "params", true}, o.Path.Pretrained("net_le"))
	require.Equal(t, Pretrained{"", "params", true}, o.Path.Pretrained("net_d"))
	require.Equal(t, "denoising", o.NetworkD.Type)
	require.JSONEq(t, `{"type": "denoising", "in_channel": 256, "out_channel": 256, "inner_channel": 512, "block_num": 4, "group": 4,
		"patch_expansion": 0.5, "channel_expansion": 2}`, string(o.NetworkD.JSON))
	require.JSONEq(t, `{"apply_ldm": false, "schedule": "linear", "timesteps": 8, "linear_start": 0.1, "linear_end": 0.99}`, string(o.Diffusion.JSON))

	file := filepath.Join(optionFixtures, "train_GoPro_S2.yml")
	require.Equal(t, file, o.File)
	require.Equal(t, []string{
		file + ":14: datasets.train.use_shuffle: has no effect: photos are shuffled for training and only then",
		file + ":18: datasets.train.prefetch_mode: has no effect: photos are always read ahead",
		file + ":65: train.mixing_augs: has no effect: mixup is off",
		file + ":82: logger.wandb: has no effect: logs go to files and TensorBoard",
		file + ":83: dist_params: has no effect: one process trains on one GPU",
	}, o.Warnings)
}

func TestLoadReleasedTest(t *testing.T) {
	o := loadFixture(t, "test_GoPro.yml")
	require.Nil(t, o.Train)
	require.Equal(t, "HI_Diff_S2", o.ModelType)
	require.Equal(t, NumGPU(1), o.NumGPU)
	require.Equal(t, 100, o.ManualSeed)
	var names []string
	for _, d := range o.Datasets {
		require.Equal(t, "test", d.Phase())
		names = append(names, d.Key+" "+d.Name)
	}
	require.Equal(t, []string{"test_1 GoPro", "test_2 HIDE", "test_3 RealBlur_J", "test_4 RealBlur_R"}, names)
	require.Equal(t, "experiments/pretrained_models/HI_Diff_GoPro/net_le_dm.pth", o.Path.Pretrained("net_le_dm").File)
	require.True(t, o.Val.SaveImg)
	require.Equal(t, MetricSections{{Key: "psnr", Type: "calculate_psnr"}, {Key: "ssim", Type: "calculate_ssim"}}, o.Val.Metrics)
}

func TestLoadQuirks(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	o := loadFixture(t, "quirks.yml")
	train := o.Dataset("train")
	require.Equal(t, filepath.Join(home, "data/target"), train.DatarootGT)
	require.Equal(t, filepath.Join(home, "data/input"), train.DatarootLQ)
	require.Equal(t, 2, train.DatasetEnlargeRatio)
	require.Equal(t, Pretrained{"", "params_ema", true}, o.Path.Pretrained("net_g"))
	require.Equal(t, 30, o.Train.TotalIter)
	require.True(t, o.Train.UseGradClip)
	require.Equal(t, OptimOptions{Type: "Adam", LR: 2e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}, o.Train.OptimTotal)
	require.Equal(t, LoggerOptions{PrintFreq: 1, SaveCheckpointFreq: 8, UseTBLogger: true}, o.Logger)
	require.Equal(t, ValOptions{ValFreq: 8}, o.Val)
	file := filepath.Join(optionFixtures, "quirks.yml")
	require.Equal(t, []string{
		file + `:2: name: contains "debug": prints every iteration, validates and saves every 8`,
		file + ":24: datasets.train.dataset_enlarge_ratio: repeated on lines 16, 24: the last one counts",
		file + ":25: datasets.train.prefetch_mode: repeated on lines 17, 25: the last one counts",
		file + ":25: datasets.train.prefetch_mode: has no effect: photos are always read ahead",
		file + ":30: path.param_key_g: repeated on lines 28, 30: the last one counts",
	}, o.Warnings)
	require.EqualError(t, o.NetworkG.Decode(nil), file+": network_g is missing")
}

// The presets mend what the released files of stage 2 have wrong: one bears another's name, and all look
// for stage 1 where stage 1 does not put it, or nowhere.
func TestPresetsAreTheReleasedFiles(t *testing.T) {
	require.Equal(t, []string{
		"GoPro", "GoPro_S1", "GoPro_S2", "RealBlur_J", "RealBlur_J_S1", "RealBlur_J_S2", "RealBlur_R", "RealBlur_R_S1", "RealBlur_R_S2",
		"Small", "Small_S1", "Small_S2",
	}, Presets())
	for _, name := range Presets() {
		if strings.HasPrefix(name, "Small") {
			continue
		}
		preset, err := Load(name, nil)
		require.NoError(t, err)
		require.Equal(t, name, preset.File)
		require.Empty(t, preset.Warnings, name)
		kind := "test_"
		if strings.Contains(name, "_S") {
			kind = "train_"
		}
		released := loadFixture(t, kind+name+".yml")
		if stage1, ok := strings.CutSuffix(preset.Name, "_S2"); ok {
			require.Equal(t, "train_HI_Diff_"+name, preset.Name)
			released.Name = preset.Name
			released.Path.PretrainNetworkG = "experiments/" + stage1 + "_S1/models/net_g_300000.pth"
			released.Path.PretrainNetworkLE = "experiments/" + stage1 + "_S1/models/net_le_300000.pth"
		}
		require.Equal(t, anywhere(released), anywhere(preset), name)
	}
}

// The three files of the model that comes with hidiff describe one model, and find each other's files.
func TestSmallPresets(t *testing.T) {
	s1, err := Load("Small_S1", nil)
	require.NoError(t, err)
	s2, err := Load("Small_S2", nil)
	require.NoError(t, err)
	test, err := Load("Small", nil)
	require.NoError(t, err)
	decoded := func(s NetworkSection) (v map[string]any) {
		require.NoError(t, s.Decode(&v))
		return v
	}
	for _, o := range []*Options{s1, test} {
		require.Empty(t, o.Warnings)
		require.Equal(t, decoded(s2.NetworkG), decoded(o.NetworkG))
		require.Equal(t, decoded(s2.NetworkLE), decoded(o.NetworkLE))
	}
	require.Empty(t, s2.Warnings)
	require.Equal(t, decoded(s2.NetworkLEDM), decoded(test.NetworkLEDM))
	require.Equal(t, decoded(s2.NetworkD), decoded(test.NetworkD))
	require.Equal(t, decoded(s2.Diffusion), decoded(test.Diffusion))
	for _, net := range []string{"net_g", "net_le"} {
		require.Equal(t, fmt.Sprintf("experiments/%s/models/%s_%d.pth", s1.Name, net, s1.Train.TotalIter), s2.Path.Pretrained(net).File)
	}
	for _, net := range []string{"net_g", "net_le_dm", "net_d"} {
		require.Equal(t, fmt.Sprintf("experiments/%s/models/%s_%d.pth", s2.Name, net, s2.Train.TotalIter), test.Path.Pretrained(net).File)
	}
	for i, o := range []*Options{s1, s2} { // where `make train-default` puts the pairs
		root := fmt.Sprintf("datasets/small/train_s%d/", i+1)
		require.Equal(t, []string{root + "input", root + "target"}, []string{o.Dataset("train").DatarootLQ, o.Dataset("train").DatarootGT})
	}
}

func TestYAMLLoadsBack(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(optionFixtures, "*.yml"))
	require.NoError(t, err)
	require.Len(t, files, 10)
	for _, file := range files {
		force := []string{"val:suffix='yes'", "manual_seed=5", "network_g:LayerNorm_type='no'", "datasets:val_2={dataroot_gt: ~/a, dataroot_lq: 1e3}"}
		if strings.Contains(file, "train") {
			force = append(force, "train:total_iter=1_000", "train:checkpointing=no", "train:accumulate=4", "train:optim_total:lr=1e-7",
				"train:scheduler={type: MultiStepLR, milestones: [10, 20]}", "num_gpu=2", "train:use_grad_clip=false")
		}
		o, err := Load(file, set(force...))
		require.NoError(t, err)
		text, err := o.YAML()
		require.NoError(t, err)
		again, err := Parse("again.yml", text, nil)
		require.NoError(t, err, "%s", text)
		require.Equal(t, anywhere(o), anywhere(again), "%s", text)
		second, err := again.YAML()
		require.NoError(t, err)
		require.Equal(t, string(text), string(second))
		require.Equal(t, 5, again.ManualSeed)
		require.Equal(t, "yes", again.Val.Suffix)
		require.NotRegexp(t, `\d+e-`, strings.ReplaceAll(string(text), ".0e-", ""), "YAML 1.1 takes 1e-07 for text")
		if again.Train != nil && strings.Contains(file, "train") {
			require.Equal(t, Off, again.Train.Checkpointing)
			require.Equal(t, 4, again.Train.Accumulate)
			require.Equal(t, 1e-7, again.Train.OptimTotal.LR)
			require.Zero(t, again.Train.ClipGradNorm)
		}
	}
}

func TestForce(t *testing.T) {
	o := loadFixture(t, "train_GoPro_S1.yml",
		"name=mine", "train:total_iter=1e3", "datasets:train:gt_sizes=[64, 64, 64, 64, 64, 64]", "path:resume_state=a=b.state",
		"path:resume_state=c:d=e.state", "val:val_freq=", "train:ema_decay=0.999", "network_g:dim=24", "datasets:val:name=Other",
		"train:warmup_iter=~")
	require.Equal(t, "mine", o.Name)
	require.Equal(t, 1000, o.Train.TotalIter)
	require.Equal(t, []int{64, 64, 64, 64, 64, 64}, o.Dataset("train").GTSizes)
	require.Equal(t, "c:d=e.state", o.Path.ResumeState)
	require.Zero(t, o.Val.ValFreq)
	require.Equal(t, 0.999, o.Train.EMADecay)
	require.Equal(t, "Other", o.Dataset("val").Name)
	require.Equal(t, -1, o.Train.WarmupIter)
	var g struct {
		Dim   int `json:"dim"`
		Group int `json:"group"`
	}
	require.NoError(t, o.NetworkG.Decode(&g))
	require.Equal(t, 24, g.Dim)
	require.Equal(t, 4, g.Group)

	o, err := Load(filepath.Join(optionFixtures, "quirks.yml"), set("network_d:type=simple_denoise", "path:param_key_g=x"))
	require.NoError(t, err, "sections that are not there are made")
	require.Equal(t, "simple_denoise", o.NetworkD.Type)
	require.Equal(t, "x", o.Path.ParamKeyG)

	for force, want := range map[string]string{
		"train":                         "forced train: write section:key=value, such as train:total_iter=1000",
		"train:total_itr=5":             "forced train:total_itr=5: train.total_itr: there is no such option: did you mean total_iter?",
		"train:total_iter=many":         `forced train:total_iter=many: train.total_iter: must be a whole number, not the text "many"`,
		"train:total_iter=0":            "forced train:total_iter=0: train.total_iter: is missing or 0: it must be at least 1",
		"train:total_iter:x=0":          `forced train:total_iter:x=0: there is no section "train:total_iter" to put it in`,
		"=5":                            `forced =5: there is no section "" to put it in`,
		"train:scheduler:periods=[1, 2": "forced train:scheduler:periods=[1, 2: this is no YAML: ",
		"train:scheduler:periods=[1,2]": "forced train:scheduler:periods=[1,2]: train.scheduler.periods: end after 3 iterations, and total_iter is 300000: ",
		"name=*x":                       "forced name=*x: this is no YAML: unknown anchor 'x' referenced",
	} {
		_, err := Load("GoPro_S1", set("num_gpu=1", force))
		require.Error(t, err, force)
		require.True(t, strings.HasPrefix(err.Error(), want), "%s\nmust begin with\n%s", err, want)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestParamKeyGStandsForOthers(t *testing.T) {
	base, ok := Preset("GoPro_S2")
	require.True(t, ok)
	start := strings.Index(string(base), "path:")
	end := strings.Index(string(base), "train:\n  total_iter")
	load := func(path string) *Options {
		o, err := Parse("x.yml", []byte(string(base[:start])+path+string(base[end:])), nil)
		require.NoError(t, err)
		return o
	}
	o := load(`path:
  pretrain_network_g: g.pth
  param_key_g: a
  pretrain_network_le: le.pth
  param_key_g: b
  pretrain_network_le_dm: ~
  param_key_g: c
  strict_load_le_dm: false
  pretrain_network_d: d.pth
  param_key_g: wrong
  param_key_d: d
`)
	require.Equal(t, Pretrained{"g.pth", "wrong", true}, o.Path.Pretrained("net_g"), "the last wins, as param_key_d is there")
	require.Equal(t, Pretrained{"le.pth", "b", true}, o.Path.Pretrained("net_le"))
	require.Equal(t, Pretrained{"", "c", false}, o.Path.Pretrained("net_le_dm"))
	require.Equal(t, Pretrained{"d.pth", "d", true}, o.Path.Pretrained("net_d"))
	require.Len(t, o.Warnings, 3)
	require.Regexp(t, `^x.yml:\d+: path.param_key_g: repeated after pretrain_network_le: read as param_key_le$`, o.Warnings[0])
	require.Regexp(t, `read as param_key_le_dm$`, o.Warnings[1])
	require.Regexp(t, `path.param_key_g: repeated on lines \d+, \d+: the last one counts$`, o.Warnings[2])
	require.Panics(t, func() { o.Path.Pretrained("g") })
}

func TestSpellings(t *testing.T) {
	o, err := Load("GoPro_S1", set(
		"train:total_iter=!!float 4e3", "train:warmup_iter=0x10", "val:val_freq=4000.0", "val:save_img=Yes", "logger:use_tb_logger=off",
		"manual_seed=1_000", "train:optim_total:lr=1e-3", "train:optim_total:weight_decay=0", "train:checkpointing=True", "name=2024",
		"train:optim_total:betas=[0, !!float 5e-1]",
		`network_g={type: Transformer, dim: !!float 4.8e1, bias: no, note: "no", big: 1e300, none: ~, list: [1, {a: b}]}`,
	))
	require.NoError(t, err)
	require.Equal(t, 4000, o.Train.TotalIter)
	require.Equal(t, 16, o.Train.WarmupIter)
	require.Equal(t, 4000, o.Val.ValFreq)
	require.True(t, o.Val.SaveImg)
	require.False(t, o.Logger.UseTBLogger)
	require.Equal(t, 1000, o.ManualSeed)
	require.Equal(t, 1e-3, o.Train.OptimTotal.LR)
	require.Zero(t, o.Train.OptimTotal.WeightDecay)
	require.Equal(t, On, o.Train.Checkpointing)
	require.Equal(t, "2024", o.Name)
	require.Equal(t, [2]float64{0, 0.5}, o.Train.OptimTotal.Betas)
	require.Equal(t, `{"type":"Transformer","dim":48,"bias":false,"note":"no","big":1e+300,"none":null,"list":[1,{"a":"b"}]}`, string(o.NetworkG.JSON))

	o, err = Load("GoPro_S1", set("train:optim_total={type: AdamW}"))
	require.NoError(t, err)
	require.Equal(t, OptimOptions{"AdamW", 1e-3, 0.01, [2]float64{0.9, 0.999}, 1e-8}, o.Train.OptimTotal)
	o, err = Load("GoPro_S1", set("train:scheduler=~"))
	require.NoError(t, err)
	require.Zero(t, o.Train.Scheduler)
}

func TestNetworkSectionDecode(t *testing.T) {
	o := loadFixture(t, "train_GoPro_S1.yml")
	where := filepath.Join(optionFixtures, "train_GoPro_S1.yml") + ":30: network_g: "
	var wrong struct {
		Dim string `json:"dim"`
	}
	err := o.NetworkG.Decode(&wrong)
	require.ErrorContains(t, err, where)
	var mismatch *json.UnmarshalTypeError
	require.ErrorAs(t, err, &mismatch)
	require.True(t, o.NetworkD.IsZero())
	require.False(t, o.NetworkG.IsZero())
}

func TestDebug(t *testing.T) {
	o, err := Load("GoPro_S1", nil)
	require.NoError(t, err)
	o.Debug()
	require.Equal(t, "train_HI_Diff_GoPro_S1", o.Name)
	require.Equal(t, LoggerOptions{PrintFreq: 1, SaveCheckpointFreq: 8, UseTBLogger: true}, o.Logger)
	require.Equal(t, 8, o.Val.ValFreq)

	o, err = Load("GoPro", set("name=debug"))
	require.NoError(t, err)
	require.Empty(t, o.Warnings, "tests know no debugging")
	require.Equal(t, 1000, o.Logger.PrintFreq)
}

func TestLoadSaysWhatIsNear(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mine_S1.yml", "mine_S2.yaml", "other.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	at := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	for path, want := range map[string]string{
		"GoPro_S3":                  "there is no option file or preset GoPro_S3: did you mean GoPro_S1 or GoPro_S2?",
		"gopro_s1":                  "there is no option file or preset gopro_s1: did you mean GoPro_S1 or GoPro_S2?",
		"nothing":                   "there is no option file or preset nothing: there are the presets GoPro, GoPro_S1, GoPro_S2, RealBlur_J, ",
		at("min_S1.yml"):            "there is no option file or preset " + at("min_S1.yml") + ": did you mean " + at("mine_S1.yml") + " or " + at("mine_S2.yaml") + "?",
		at("mine_S1"):               "did you mean " + at("mine_S1.yml") + " or ",
		at("train", "GoPro_S1.yml"): "there is no folder " + at("train") + " with an option file GoPro_S1.yml: did you mean GoPro_S1 or ",
	} {
		_, err := Load(path, nil)
		require.ErrorContains(t, err, want)
	}
	_, err := Load(dir, nil)
	require.ErrorContains(t, err, dir)

	big := at("big.yml")
	require.NoError(t, os.WriteFile(big, make([]byte, 1<<20+1), 0o600))
	_, err = Load(big, nil)
	require.EqualError(t, err, big+" is no option file: it is larger than 1048576 bytes")
}

// windowsTexts are a text as editors and shells of Windows write it.
func windowsTexts(text string) map[string][]byte {
	crlf := "\uFEFF" + strings.ReplaceAll(text, "\n", "\r\n")
	var little, big []byte
	for _, unit := range utf16.Encode([]rune(crlf)) {
		little, big = binary.LittleEndian.AppendUint16(little, unit), binary.BigEndian.AppendUint16(big, unit)
	}
	return map[string][]byte{"UTF-8 with a mark": []byte(crlf), "UTF-16LE": little, "UTF-16BE": big}
}

func TestParseOptionsOfWindows(t *testing.T) {
	text, ok := Preset("GoPro_S1")
	require.True(t, ok)
	want, err := Load("GoPro_S1", nil)
	require.NoError(t, err)
	for kind, text := range windowsTexts(string(text)) {
		got, err := Parse("GoPro_S1", text, nil)
		require.NoError(t, err, kind)
		require.Equal(t, want, got, kind)
	}
	_, err = Parse("x.yml", []byte("name: a\x00b"), nil)
	require.EqualError(t, err, "x.yml is no text file: it has NUL bytes; save it as UTF-8")
}
