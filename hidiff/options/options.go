// Package options reads the option files of BasicSR that were released with HI-Diff, or the presets
// named after them, and says what follows from them: phases, learning rates, losses. What is in the
// sections of networks it leaves to who builds them.
package options

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Options is one option file. Keys are BasicSR's, and so are defaults unless a comment says
// otherwise. [Load] fills, completes and checks it.
type Options struct {
	Name      string `yaml:"name"`       // of the experiment and its folder
	ModelType string `yaml:"model_type"` // HIDiffS1 or HIDiffS2
	Scale     int    `yaml:"scale"`      // 1: restoration does not enlarge
	NumGPU    NumGPU `yaml:"num_gpu"`

	// ManualSeed is 0 where the file has none (BasicSR then draws one).
	ManualSeed int `yaml:"manual_seed"`

	Datasets DatasetSections `yaml:"datasets,omitempty"`

	NetworkG    NetworkSection `yaml:"network_g,omitempty"`
	NetworkLE   NetworkSection `yaml:"network_le,omitempty"`
	NetworkLEDM NetworkSection `yaml:"network_le_dm,omitempty"`
	NetworkD    NetworkSection `yaml:"network_d,omitempty"`
	Diffusion   NetworkSection `yaml:"diffusion_schedule,omitempty"`

	Path   PathOptions   `yaml:"path"`
	Train  *TrainOptions `yaml:"train,omitempty"` // nil in files that only test
	Val    ValOptions    `yaml:"val"`
	Logger LoggerOptions `yaml:"logger"`

	_ unread `yaml:"dist_params" why:"one process trains on one GPU"`

	// File is what messages call the file. Warnings are sentences on what the file says to no
	// effect, or twice, by line.
	File     string   `yaml:"-"`
	Warnings []string `yaml:"-"`
}

// The values of Options.ModelType: the stages of training.
const (
	HIDiffS1 = "HI_Diff_S1"
	HIDiffS2 = "HI_Diff_S2"
)

// NumGPU is the number of GPUs that the file's author had: 0 for auto. A process uses one
// GPU whatever it says.
type NumGPU int

// DatasetSections are the datasets in the order of the file.
type DatasetSections []DatasetSection

// DatasetSection is one dataset of pairs of a sharp (gt) and a blurry photo (lq).
type DatasetSection struct {
	Key  string `yaml:"-"`    // train, val, test, or the latter two with a suffix such as _1
	Name string `yaml:"name"` // in logs and of the folder of results; Key where absent
	Type string `yaml:"type"` // PairedImageIRDataset

	DatarootGT   string `yaml:"dataroot_gt"`
	DatarootLQ   string `yaml:"dataroot_lq"`
	MetaInfoFile string `yaml:"meta_info_file,omitempty"` // lists the photos to use; all where empty
	FilenameTmpl string `yaml:"filename_tmpl"`            // of lq, with {} for the name of gt

	IOBackend IOBackendOptions `yaml:"io_backend"`

	OnBadImage string `yaml:"on_bad_image"` // our own, of training alone; fail where absent

	// Of training alone.
	NumWorkerPerGPU     int  `yaml:"num_worker_per_gpu"`
	BatchSizePerGPU     int  `yaml:"batch_size_per_gpu,omitempty"`
	DatasetEnlargeRatio int  `yaml:"dataset_enlarge_ratio"` // an epoch is as many passes over the pairs
	GeometricAugs       bool `yaml:"geometric_augs"`        // flips and turns; true where absent
	GTSize              int  `yaml:"gt_size,omitempty"`     // side of the crops that are read

	// Progressive learning, one number per phase, or all empty; see [DatasetSection.Phases].
	MiniBatchSizes []int `yaml:"mini_batch_sizes,omitempty,flow"`
	Iters          []int `yaml:"iters,omitempty,flow"`
	GTSizes        []int `yaml:"gt_sizes,omitempty,flow"`

	_ unread `yaml:"use_shuffle" why:"photos are shuffled for training and only then"`
	_ unread `yaml:"use_hflip" why:"geometric_augs turns all flips and turns on or off"`
	_ unread `yaml:"use_rot" why:"geometric_augs turns all flips and turns on or off"`
	_ unread `yaml:"prefetch_mode" why:"photos are always read ahead"`
	_ unread `yaml:"num_prefetch_queue" why:"photos are always read ahead"`
}

// IOBackendOptions says what a dataset's dataroots are.
type IOBackendOptions struct {
	Type string `yaml:"type"` // disk: folders of photos; lmdb: databases
}

// The values of DatasetSection.OnBadImage: what to do where a photo of a batch cannot be read.
const (
	FailOnBadImage = "fail" // stop with an error
	SkipBadImage   = "skip" // draw another pair in its place
)

// Phase returns train, val or test.
func (d *DatasetSection) Phase() string {
	phase, _, _ := strings.Cut(d.Key, "_")
	return phase
}

// NetworkSection is the section of a network, or of the diffusion, as the file has it.
type NetworkSection struct {
	Type string
	JSON json.RawMessage // nil where the file lacks the section

	where string // "file:line: key"
}

// IsZero says whether the file lacks the section.
func (s NetworkSection) IsZero() bool { return s.JSON == nil }

// Decode decodes the section's JSON. Errors, one of which is that there is no such section,
// begin with the file, the line and the key of the section.
func (s NetworkSection) Decode(into any) error {
	if s.IsZero() {
		return fmt.Errorf("%s is missing", s.where)
	}
	if err := json.Unmarshal(s.JSON, into); err != nil {
		return fmt.Errorf("%s: %w", s.where, err)
	}
	return nil
}

// PathOptions says which files training or testing starts with.
type PathOptions struct {
	PretrainNetworkG    string `yaml:"pretrain_network_g,omitempty"`
	ParamKeyG           string `yaml:"param_key_g"`
	StrictLoadG         bool   `yaml:"strict_load_g"`
	PretrainNetworkLE   string `yaml:"pretrain_network_le,omitempty"`
	ParamKeyLE          string `yaml:"param_key_le"`
	StrictLoadLE        bool   `yaml:"strict_load_le"`
	PretrainNetworkLEDM string `yaml:"pretrain_network_le_dm,omitempty"`
	ParamKeyLEDM        string `yaml:"param_key_le_dm"`
	StrictLoadLEDM      bool   `yaml:"strict_load_le_dm"`
	PretrainNetworkD    string `yaml:"pretrain_network_d,omitempty"`
	ParamKeyD           string `yaml:"param_key_d"`
	StrictLoadD         bool   `yaml:"strict_load_d"`
	ResumeState         string `yaml:"resume_state,omitempty"` // of training to continue: a .state file
}

// Pretrained is where a network's first weights come from.
type Pretrained struct {
	File     string // empty: none
	ParamKey string // the entry of the file that holds the weights, as params or params_ema
	Strict   bool   // whether the file must have all of the network's parameters, and no others
}

// Pretrained returns the options of a network: net_g, net_le, net_le_dm or net_d.
func (p *PathOptions) Pretrained(net string) Pretrained {
	switch net {
	case "net_g":
		return Pretrained{p.PretrainNetworkG, p.ParamKeyG, p.StrictLoadG}
	case "net_le":
		return Pretrained{p.PretrainNetworkLE, p.ParamKeyLE, p.StrictLoadLE}
	case "net_le_dm":
		return Pretrained{p.PretrainNetworkLEDM, p.ParamKeyLEDM, p.StrictLoadLEDM}
	case "net_d":
		return Pretrained{p.PretrainNetworkD, p.ParamKeyD, p.StrictLoadD}
	}
	panic(fmt.Sprintf("options: no network is called %q", net))
}

// TrainOptions is the section train. Accumulate, Checkpointing and ClipGradNorm are our own.
type TrainOptions struct {
	TotalIter    int              `yaml:"total_iter"`
	WarmupIter   int              `yaml:"warmup_iter"` // -1: none
	UseGradClip  bool             `yaml:"use_grad_clip"`
	ClipGradNorm float64          `yaml:"clip_grad_norm,omitempty"` // 0.01 where absent; 0 without use_grad_clip
	OptimTotal   OptimOptions     `yaml:"optim_total"`
	Scheduler    SchedulerOptions `yaml:"scheduler,omitempty"`
	PixelOpt     *LossOptions     `yaml:"pixel_opt,omitempty"`
	PixelDiffOpt *LossOptions     `yaml:"pixel_diff_opt,omitempty"` // of stage 2
	EMADecay     float64          `yaml:"ema_decay"`                // 0: no moving average of the weights

	Accumulate    int    `yaml:"accumulate"`    // batches whose gradients make one step; 1 where absent
	Checkpointing Switch `yaml:"checkpointing"` // recompute activations to save memory; auto where absent

	_ unread `yaml:"mixing_augs" why:"mixup is off"`
}

// NewScheduler returns the learning rate of every iteration.
func (t *TrainOptions) NewScheduler() (*Scheduler, error) {
	return NewScheduler(t.Scheduler, t.OptimTotal.LR, t.TotalIter, t.WarmupIter)
}

// Switch is on, off, or left to the program.
type Switch string

// The values of a Switch; in files also any other boolean of YAML.
const (
	Auto Switch = "auto"
	On   Switch = "true"
	Off  Switch = "false"
)

// The values of OptimOptions.Type.
const (
	Adam  = "Adam"
	AdamW = "AdamW"
)

// OptimOptions is the optimizer of all networks. Absent options take PyTorch's defaults.
type OptimOptions struct {
	Type        string     `yaml:"type"` // Adam or AdamW
	LR          float64    `yaml:"lr"`
	WeightDecay float64    `yaml:"weight_decay"` // where absent 0.01 for AdamW, 0 for Adam
	Betas       [2]float64 `yaml:"betas,flow"`
	Eps         float64    `yaml:"eps"`
}

// LossOptions is one term of the loss.
type LossOptions struct {
	Type       string  `yaml:"type"` // L1Loss, MSELoss or CharbonnierLoss
	LossWeight float64 `yaml:"loss_weight"`
	Reduction  string  `yaml:"reduction"`     // mean or sum
	Eps        float64 `yaml:"eps,omitempty"` // of CharbonnierLoss; 1e-12 where absent
}

// ValOptions says when and how to validate, and how to test.
type ValOptions struct {
	ValFreq int            `yaml:"val_freq"` // iterations; 0: never
	SaveImg bool           `yaml:"save_img"`
	Suffix  string         `yaml:"suffix,omitempty"` // of the names of saved photos
	Metrics MetricSections `yaml:"metrics,omitempty"`

	_ unread `yaml:"selfensemble_testing" why:"a photo is restored once"`
	_ unread `yaml:"pbar" why:"progress shows on terminals"`
}

// MetricSections are the metrics in the order of the file.
type MetricSections []MetricSection

// MetricSection is one metric of BasicSR.
type MetricSection struct {
	Key          string `yaml:"-"`              // what logs call it, such as psnr
	Type         string `yaml:"type"`           // calculate_psnr or calculate_ssim
	CropBorder   int    `yaml:"crop_border"`    // pixels to leave out at each border
	TestYChannel bool   `yaml:"test_y_channel"` // of YCbCr alone

	_ unread `yaml:"better" why:"more is better in all metrics there are"`
}

// LoggerOptions says how often to write what, in iterations. Absent options take the
// released values.
type LoggerOptions struct {
	PrintFreq          int  `yaml:"print_freq"`
	SaveCheckpointFreq int  `yaml:"save_checkpoint_freq"`
	UseTBLogger        bool `yaml:"use_tb_logger"`

	_ unread `yaml:"wandb" why:"logs go to files and TensorBoard"`
}

// Dataset returns the dataset of that key, or nil.
func (o *Options) Dataset(key string) *DatasetSection {
	for i := range o.Datasets {
		if o.Datasets[i].Key == key {
			return &o.Datasets[i]
		}
	}
	return nil
}

// Debug makes a run report early, as a name that contains "debug" do:
// it prints every iteration, and validates and saves every 8.
func (o *Options) Debug() {
	o.Logger.PrintFreq, o.Logger.SaveCheckpointFreq, o.Val.ValFreq = 1, 8, 8
}

// unread is the type of options that files contain and nothing has ever read; the tag why
// says what happens instead.
type unread struct{}

// The defaults stand in for absent keys.

func defaultOptions() *Options {
	return &Options{
		Scale: 1,
		Path: PathOptions{
			ParamKeyG: "params", StrictLoadG: true, ParamKeyLE: "params", StrictLoadLE: true,
			ParamKeyLEDM: "params", StrictLoadLEDM: true, ParamKeyD: "params", StrictLoadD: true,
		},
		Logger: LoggerOptions{PrintFreq: 1000, SaveCheckpointFreq: 4000},
	}
}

func defaultDataset(key string) DatasetSection {
	return DatasetSection{
		Key: key, Name: key, Type: pairedDataset, FilenameTmpl: "{}", IOBackend: IOBackendOptions{"disk"}, OnBadImage: FailOnBadImage,
		NumWorkerPerGPU: 4, DatasetEnlargeRatio: 1, GeometricAugs: true,
	}
}

func (t *TrainOptions) setDefaults() {
	*t = TrainOptions{WarmupIter: -1, Accumulate: 1, Checkpointing: Auto, OptimTotal: defaultOptim(Adam)}
}

func defaultOptim(kind string) OptimOptions {
	o := OptimOptions{LR: 1e-3, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8}
	if kind == AdamW {
		o.WeightDecay = 0.01
	}
	return o
}

func (l *LossOptions) setDefaults() { *l = LossOptions{LossWeight: 1, Reduction: "mean"} }
