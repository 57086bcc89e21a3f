package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/metrics"
	"hidiff/hidiff/options"
	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
	"hidiff/internal/eval"
	"hidiff/internal/folder"
	"hidiff/internal/lock"
	"hidiff/internal/suggest"
)

type evalOptions struct {
	Options  string // a file or a preset
	Force    []string
	Input    string   // without Options: the folder of blurry photos
	Target   string   // and of sharp ones
	Datasets []string // with Options: those to evaluate; without: what the only one is called
	Results  string   // photos that are already restored
	Name     string   // of the folder in results

	Weights   []string
	ParamKey  string
	GPU       string
	Memory    byteSize
	Seed      uint64
	SeedGiven bool
	Seeds     int
	Ensemble  bool
	Prior     hidiff.Prior

	Protocols    []string
	Baselines    []eval.Method
	SkipExisting bool
	ReportImages int
	JSON         bool
}

const evalLong = `Restore the blurry photos of test sets, and score them against the sharp ones.

What to evaluate is said by an option file of BasicSR (the files that were released, or one of the presets
of their names), all of whose datasets are evaluated in one run, or by --input and --target: two folders
whose photos have equal names. Weights are those that the option file names, unless -m names others.
--results scores photos that some program has already restored; that takes no GPU.

Protocols: basicsr, as in validation during training; matlab, the paper's for GoPro and HIDE; realblur, which
aligns each result with its target first. A pair that cannot be aligned has no score, and is named.

--baseline scores what classical methods make of the same blurry photos: unsharp, an unsharp mask, and
richardson-lucy, deconvolution by a Gaussian. Their parameters are those of a small grid with the best mean PSNR
on the dataset itself, which flatters them. It takes the CPU some seconds a photo.

--prior says what the Transformer is told of the sharp photo, for studies: sampled is HI-Diff; zero, nothing;
oracle, what net_le sees in the sharp photo, as in stage one, whose net_g and net_le -m then names.

The restored photos go into results/NAME/visualization, the scores of all photos into scores.csv and
scores.json, and report/index.html shows the worst and the best. Datasets may be evaluated one at a time: what an
earlier run into NAME, of the same weights and settings, says of others stays, but for pictures in the report.

Exit code: 0 all photos were scored, 1 some were not, 2 the command line is wrong, 130 interrupted; --skip-existing then goes on.`

const evalExample = `  hidiff eval -opt GoPro --dataset GoPro -m hidiff-gopro.safetensors
  hidiff eval -opt options/test/RealBlur_J.yml --seeds 5
  hidiff eval --input blurry --target sharp -m hidiff-gopro.safetensors --protocol basicsr,matlab
  hidiff eval --results restored --target sharp --input blurry --protocol realblur --baseline unsharp
  hidiff eval --input blurry --target sharp -m experiments/GoPro_S1 --prior oracle`

func newEvalCommand(a *app, run func(context.Context, *evalOptions) error) *cobra.Command {
	o := &evalOptions{}
	var prior string
	var baselines []string
	c := &cobra.Command{
		Use:     "eval {-opt OPTIONS | --input DIR --target DIR} [-m WEIGHTS | --results DIR]",
		Short:   "Restore test sets and score them",
		Long:    evalLong,
		Example: evalExample,
		Args:    arguments(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			o.SeedGiven, o.Prior = c.Flags().Changed("seed"), hidiff.Prior(prior)
			for _, name := range baselines {
				m, err := eval.NewMethod(name)
				if err != nil {
					return usagef("--baseline: %v", err)
				}
				if !slices.Contains(o.Baselines, m) {
					o.Baselines = append(o.Baselines, m)
				}
			}
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Options, "opt", "", "option file, or a preset: "+strings.Join(presets(false), ", ")+" (also -opt)")
	f.StringArrayVar(&o.Force, "force_yml", nil, "set an option, as val:suffix=mine; may be repeated")
	f.StringVarP(&o.Input, "input", "i", "", "folder of blurry photos")
	f.StringVar(&o.Target, "target", "", "folder of sharp photos, of the same names")
	f.StringVar(&o.Results, "results", "", "folder of photos that are restored already: only score them")
	f.StringSliceVar(&o.Datasets, "dataset", nil, "with -opt, which of its datasets; without, the dataset's name (default: the folder's above --target)")
	f.StringVar(&o.Name, "name", "", "folder in results to write into (default: the option file's name)")
	f.StringArrayVarP(&o.Weights, "model", "m", nil, "weights: "+weightsHelp+" (default: the option file's, else $HIDIFF_MODEL, else the built-in)")
	addParamKeyFlag(c, &o.ParamKey)
	f.StringSliceVar(&o.Protocols, "protocol", nil, "basicsr, matlab, realblur, or several of them (default: the one that the dataset's published scores are by)")
	f.StringSliceVar(&baselines, "baseline", nil, "score classical methods, too: unsharp, richardson-lucy, or both")
	f.StringVar(&prior, "prior", string(hidiff.SampledPrior), "what the Transformer is told: sampled, zero or oracle")
	addGPUFlag(c, &o.GPU)
	f.Var(&o.Memory, "memory", "GPU memory to use at most, such as 8GiB")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of the noise that the diffusion starts from (default: the option file's manual_seed, or 0)")
	f.IntVar(&o.Seeds, "seeds", 1, "restore each photo as often, from as many seeds, and give mean and standard deviation")
	f.BoolVarP(&o.Ensemble, "ensemble", "x", false, "average over eight flips and turns: 8 times slower, a little sharper")
	f.BoolVar(&o.SkipExisting, "skip-existing", false, "go on with an earlier run: don't restore again what it restored")
	f.IntVar(&o.ReportImages, "report-images", 24, "photos of each dataset that the report shows: half of them the worst, half the best")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a line to standard output")
	must(c.RegisterFlagCompletionFunc("opt", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return presets(false), cobra.ShellCompDirectiveDefault
	}))
	must(c.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions([]string{"basicsr", "matlab", "realblur"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("baseline", cobra.FixedCompletions([]string{"unsharp", "richardson-lucy"}, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("prior", cobra.FixedCompletions([]string{"sampled", "zero", "oracle"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func (o *evalOptions) validate() error {
	switch {
	case o.Options == "" && o.Target == "":
		return usagef("say what to evaluate: -opt with an option file or a preset, or --target with the sharp photos ('hidiff deblur' needs none)")
	case o.Options != "" && (o.Target != "" || o.Input != ""):
		return usagef("-opt says which photos: leave out --input and --target, or -opt")
	case o.Options == "" && o.Input == "" && o.Results == "":
		return usagef("say which photos to restore with --input, or which are restored already with --results")
	case o.Options == "" && len(o.Force) > 0:
		return usagef("--force_yml changes an option file: name one with -opt")
	case o.Options == "" && len(o.Datasets) > 1:
		return usagef("--dataset: two folders are one dataset: give one name")
	case o.Target != "" && o.Input == o.Target:
		return usagef("--input and --target are the same folder")
	case !slices.Contains(hidiff.Priors, o.Prior):
		return usagef("--prior %s must be sampled, zero or oracle", o.Prior)
	case o.Results != "" && (len(o.Weights) > 0 || o.ParamKey != "" || o.SkipExisting || o.Seeds != 1 || o.Ensemble || o.SeedGiven || !o.sampled()):
		return usagef("--results scores what is there: nothing is restored, so leave out -m, --param-key, -x, --prior, --seed, --seeds and --skip-existing")
	case !o.sampled() && (o.SeedGiven || o.Seeds != 1):
		return usagef("--prior %s starts from no noise: leave out --seed and --seeds", o.Prior)
	case o.Options == "" && o.Input == "" && len(o.Baselines) > 0:
		return usagef("--baseline sharpens the blurry photos: name their folder with --input")
	case o.Seeds < 1:
		return usagef("--seeds %d: it must be at least 1", o.Seeds)
	case o.ReportImages < 0:
		return usagef("--report-images %d: it must be at least 0", o.ReportImages)
	}
	for flag, names := range map[string][]string{"name": {o.Name}, "dataset": o.Datasets} {
		for _, name := range names {
			if name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
				return usagef("--%s %s cannot name a folder", flag, name)
			}
		}
	}
	_, err := o.scorers("", nil)
	return err
}

func (o *evalOptions) sampled() bool { return o.Prior == hidiff.SampledPrior }

// scorers returns those of a dataset.
func (o *evalOptions) scorers(dataset string, file *options.Options) ([]eval.Scorer, error) {
	scorers := eval.Default(dataset)
	if len(o.Protocols) > 0 {
		scorers = nil
	}
	for i, name := range o.Protocols {
		s, err := eval.NewScorer(name)
		if err != nil {
			return nil, usagef("--protocol: %v", err)
		}
		if !slices.Contains(o.Protocols[:i], name) {
			scorers = append(scorers, s)
		}
	}
	if file == nil {
		return scorers, nil
	}
	for i := range scorers {
		for _, m := range file.Val.Metrics {
			of := &scorers[i].PSNR
			if m.Type == "calculate_ssim" {
				of = &scorers[i].SSIM
			}
			*of = metrics.Options{CropBorder: m.CropBorder, YChannel: m.TestYChannel}
		}
	}
	return scorers, nil
}

// evaluation is the state of a run.
type evaluation struct {
	*app
	*evalOptions
	options *options.Options // nil where folders were given
	result  *eval.Evaluation
	sources []eval.Source // of result.Datasets
	folder  string        // results/NAME
	start   time.Time
	saved   time.Time // when scores.json was last written
	written []string  // at the end

	passedOver folder.Kinds // in the folders of all datasets
}

func (a *app) eval(ctx context.Context, o *evalOptions) error {
	e := &evaluation{app: a, evalOptions: o, start: time.Now(), passedOver: folder.Kinds{}}
	e.result = &eval.Evaluation{Program: readVersion().Hidiff, Date: time.Now().Round(time.Second), Options: o.Options, Seeds: o.Seeds}
	if err := e.choose(); err != nil {
		return err
	}
	opened, err := e.openPhotos(ctx)
	defer func() {
		for _, d := range opened {
			d.Close()
		}
	}()
	if err != nil {
		return err
	}
	var weights *hidiff.Weights
	if o.Results == "" {
		if weights, err = e.loadWeights(ctx); err != nil {
			return err
		}
	} else if e.options != nil {
		if _, c, err := hidiff.ConfigOf(e.options); err == nil {
			e.result.Trained = trainedOn(c)
		}
	}
	if err := e.makeFolder(); err != nil {
		return err
	}
	alone, err := lock.Acquire(filepath.Join("results", "."+e.result.Name+".lock"))
	if held := new(lock.HeldError); errors.As(err, &held) {
		err = fmt.Errorf("%s is %w: wait for that to end, or choose another --name", e.folder, held)
	}
	if err != nil {
		return err
	}
	defer alone.Release()
	return e.run(ctx, weights)
}

// makeFolder makes the folder of results, if all that is to go into it can be written.
func (e *evaluation) makeFolder() error {
	var outputs atomicfile.Checker
	files := []string{e.scores()}
	for i, d := range e.result.Datasets {
		for k := range e.sources[i].Len() {
			if e.Results == "" {
				files = append(files, d.File(e.sources[i].Name(k)))
			}
		}
	}
	for _, file := range files {
		if err := outputs.Check(file); err != nil {
			return err
		}
	}
	return os.MkdirAll(e.folder, 0o777)
}

// choose decides on names and on the datasets.
func (e *evaluation) choose() (err error) {
	var found []string
	if e.Options != "" {
		if e.options, err = options.Load(e.Options, forced(e.Force)); err != nil {
			return err
		}
		for _, warning := range e.options.Warnings {
			fmt.Fprintf(e.stderr, "note: %s\n", warning)
		}
		if !e.SeedGiven {
			e.Seed = uint64(e.options.ManualSeed)
		}
		for i := range e.options.Datasets {
			s := &e.options.Datasets[i]
			if s.Phase() != "train" && (len(e.Datasets) == 0 || slices.Contains(e.Datasets, s.Name)) {
				e.add(s.Name, s.DatarootLQ, s.DatarootGT)
			}
			if s.Phase() != "train" {
				found = append(found, s.Name)
			}
		}
		for _, name := range e.Datasets {
			if !slices.Contains(found, name) {
				return usagef("--dataset %s is not in %s: it has %s%s", name, e.Options, strings.Join(found, ", "), suggest.Text(name, found))
			}
		}
		if len(found) == 0 {
			return fmt.Errorf("%s has no dataset to test or validate on", e.Options)
		}
	} else {
		name := datasetName(e.Target)
		if len(e.Datasets) > 0 {
			name = e.Datasets[0]
		}
		e.add(name, e.Input, e.Target)
	}
	name := e.Name
	switch {
	case name == "" && e.options != nil:
		name = e.options.Name
	case name == "":
		name = "eval_" + e.result.Datasets[0].Name
	}
	if e.Name == "" && !e.sampled() {
		name += "_" + string(e.Prior)
	}
	suffix := "_" + name
	if e.options != nil && e.options.Val.Suffix != "" {
		suffix = "_" + e.options.Val.Suffix
	}
	if e.Results != "" && e.Name == "" {
		name += "_scored" // beside what a run that restored wrote
	}
	e.result.Name, e.folder = name, filepath.Join("results", name)
	for _, d := range e.result.Datasets {
		d.Folder, d.Suffix = filepath.Join(e.folder, "visualization", d.Name), suffix
		if d.Protocols, err = e.scorers(d.Name, e.options); err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) add(name, input, target string) {
	e.result.Datasets = append(e.result.Datasets, &eval.Dataset{Name: name, Input: input, Target: target})
}

// datasetName is the name of the folder that holds the folder of sharp photos, or its folder test.
func datasetName(target string) string {
	path, err := filepath.Abs(target)
	if err != nil {
		path = target
	}
	dir := filepath.Dir(path)
	if filepath.Base(dir) == "test" {
		dir = filepath.Dir(dir)
	}
	if name := filepath.Base(dir); len(name) > 1 {
		return name
	}
	return "photos"
}

// run restores and scores, and writes everything.
func (e *evaluation) run(ctx context.Context, weights *hidiff.Weights) (err error) {
	o := make([]eval.Options, len(e.sources))
	if err := e.goOn(); err != nil {
		return err
	}
	left := 0
	var engine restorer
	for i, d := range e.result.Datasets {
		o[i] = eval.Options{Seeds: e.Seeds, Seed: e.Seed, Done: func(m *eval.Image) { e.done(d, e.sources[i].Len(), m) }}
		if weights != nil {
			o[i].Restore = func(ctx context.Context, p eval.Photos, seed uint64) (*photo.Photo, error) {
				out, err := engine.Restore(ctx, p.Input, e.restoring(p, seed))
				return out, inFlags(err)
			}
		}
		left += d.Left(e.sources[i], o[i])
	}
	if left > 0 {
		if engine, err = e.open(ctx, weights, hidiff.Options{GPU: e.GPU, Memory: int64(e.Memory), Logger: e.logger()}); err != nil {
			return err
		}
		defer engine.Close()
		if m, ok := engine.(*hidiff.Model); ok {
			e.result.GPU = m.Device().Adapter().Name
		}
	}
	if err := e.save(); err != nil { // what is restored from now on belongs to these settings
		return err
	}
	e.began()
	defer e.ended()
	for i, d := range e.result.Datasets {
		e.say("%s: %d pairs", d.Name, e.sources[i].Len())
		err := e.chooseBaselines(ctx, d, e.sources[i])
		if err == nil {
			err = d.Run(ctx, e.sources[i], o[i])
		}
		e.result.Summarise()
		if err != nil {
			return errors.Join(err, e.save())
		}
		if err := e.finished(d); err != nil {
			return err
		}
	}
	return e.finish(ctx)
}

// restoring says how to restore one input. Its noise is what 'hidiff deblur' gives it in its folder.
func (e *evaluation) restoring(p eval.Photos, seed uint64) hidiff.RestoreOptions {
	o := hidiff.RestoreOptions{Seed: seed, Name: p.File, Ensemble: e.Ensemble, Prior: e.Prior}
	if e.Prior == hidiff.OraclePrior {
		o.Target = p.Target
	}
	return o
}

// chooseBaselines finds the parameters of the classical methods.
func (e *evaluation) chooseBaselines(ctx context.Context, d *eval.Dataset, s eval.Source) error {
	if len(e.Baselines) == 0 {
		return nil
	}
	progress := &steps{out: e.stderr, screen: e.screen}
	err := d.Choose(ctx, s, e.Baselines, func(done, of int) {
		if !e.JSON {
			progress.items("choosing baselines for "+d.Name, done, of)
		}
	})
	progress.close()
	if err != nil {
		return err
	}
	var texts []string
	for _, b := range d.Baselines {
		texts = append(texts, b.String())
	}
	e.say("%s: baselines: %s", d.Name, strings.Join(texts, "; "))
	return nil
}

func (e *evaluation) scores() string { return filepath.Join(e.folder, "scores.json") }

func (e *evaluation) save() error {
	e.saved = time.Now()
	return e.result.WriteJSON(e.scores())
}

// finish writes what a whole run leaves.
func (e *evaluation) finish(ctx context.Context) error {
	e.result.Complete = !slices.ContainsFunc(e.result.Kept, func(d *eval.Dataset) bool { return !d.Complete })
	if err := e.save(); err != nil {
		return err
	}
	csv, page := filepath.Join(e.folder, "scores.csv"), filepath.Join(e.folder, "report")
	if err := e.result.WriteCSV(csv); err != nil {
		return err
	}
	if err := e.result.WritePage(ctx, page, e.sources, e.ReportImages); err != nil {
		return err
	}
	if e.wrote(e.scores(), csv, filepath.Join(page, "index.html")); e.result.Failures() > 0 {
		return errReported
	}
	return nil
}
