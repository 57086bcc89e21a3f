package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"hidiff/hidiff/synth"
	"hidiff/internal/folder"
)

type synthOptions struct {
	Inputs    []string // files, folders or patterns
	Output    string
	Recursive bool
	Pairs     synth.Options
	PerPhoto  int
	Workers   int
	JSON      bool
}

const synthLong = `Make pairs of blurry and sharp photos, to train on, from sharp photos: camera shake with
rotation that differs across the photo, summed in linear light over many moments of the
exposure; lights that streak; defocus, a sensor's noise and JPEG, nearer and moving objects,
videos' averaged frames, as asked for.

Pairs go into the folders input and target below -o, as PNG files of equal names, which
'hidiff train' reads as dataroot_lq and dataroot_gt. manifest.jsonl lists how each was made, and
synth.json the options. Give sharp photos, the larger the better: making them smaller
(--downscale) makes them sharper, and what is around a crop takes the place of borders.

Ranges are written MIN:MAX, or as one number; all are drawn from uniformly. A pair depends on
the seed, the photo's path below the folder given, and its number, and on nothing else. A second run
makes what is missing, so more photos or a larger --per-photo go on; other options are refused.

A photo that fails does not stop the others. Exit code: 0 all went well, 1 some photo failed,
2 the command line is wrong, 130 interrupted; whole pairs are left behind, and no halves.`

const synthExample = `  hidiff synth wallpapers -r -o shaken --per-photo 20
  hidiff synth heldout -o shaken-test --crop 256 --seed 1
  hidiff synth photos -o cameras --strength 2:60 --noise 0:6 --defocus 0:2 --jpeg 70:100
  hidiff synth photos -o street --objects 0:3 --object-strength 0:40 --nearness 1:4 --tripod 0.2 --average 7:15 --duty 0.4:1 --curve 0.5
  hidiff train -opt GoPro_S1 --force_yml datasets:train:dataroot_lq=shaken/input --force_yml datasets:train:dataroot_gt=shaken/target`

func newSynthCommand(a *app, run func(context.Context, *synthOptions) error) *cobra.Command {
	o := &synthOptions{Pairs: synth.Defaults()}
	var inputs []string
	c := &cobra.Command{
		Use:     "synth [-i] PHOTOS... -o FOLDER",
		Short:   "Make blurry and sharp pairs from sharp photos, to train on",
		Long:    synthLong,
		Example: synthExample,
		RunE: func(c *cobra.Command, args []string) error {
			o.Inputs = append(inputs, args...)
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&inputs, "input", "i", nil, "photo, folder or pattern; may be repeated, and given without -i")
	f.StringVarP(&o.Output, "output", "o", "", "folder to make, or to go on with")
	f.BoolVarP(&o.Recursive, "recursive", "r", false, "take in the subfolders of folders")
	f.IntVar(&o.PerPhoto, "per-photo", 1, "pairs to make of each photo")
	f.IntVar(&o.Pairs.Crop, "crop", o.Pairs.Crop, "width and height of pairs, cut where there is detail; 0 is the whole photo")
	f.Float64Var(&o.Pairs.Detail, "detail", o.Pairs.Detail, "least mean difference of neighbours in a crop, in levels of 255; 0 takes flat ones too")
	ranged := func(r *synth.Range, name, usage string) { f.Var(rangeValue{r}, name, usage) }
	ranged(&o.Pairs.Strength, "strength", "pixels that the corner which moves farthest travels")
	f.Float64Var(&o.Pairs.Sharp, "sharp", o.Pairs.Sharp, "share of pairs with a strength below 1, whatever --strength says")
	ranged(&o.Pairs.Focal, "focal", "focal length, in longer sides of the photo: the shorter, the more blur differs across it")
	ranged(&o.Pairs.Downscale, "downscale", "make photos smaller by this factor first, as far as they are large enough")
	ranged(&o.Pairs.Highlights, "highlights", "how bright white is in truth, so that lights streak; 1 is no brighter")
	ranged(&o.Pairs.Defocus, "defocus", "radius of the lens' blur, in pixels")
	ranged(&o.Pairs.Noise, "noise", "the sensor's noise at mid-grey: standard deviation in levels of 255")
	ranged(&o.Pairs.JPEG, "jpeg", "quality of JPEG compression of the blurry photos; 0 is none")
	ranged(&o.Pairs.Objects, "objects", "how many objects stand before the scene: pieces of the photo, nearer than the rest or moving by themselves")
	ranged(&o.Pairs.ObjectStrength, "object-strength", "pixels that an object travels by itself")
	ranged(&o.Pairs.Nearness, "nearness", "the scene's distance, in distances to an object: the nearer it is, the more the camera's movement shifts it")
	f.Float64Var(&o.Pairs.Tripod, "tripod", 0, "share of pairs in which only objects move")
	ranged(&o.Pairs.Average, "average", "frames of a video that are averaged, as for GoPro and REDS; 1 is a single exposure")
	ranged(&o.Pairs.Duty, "duty", "share of the time between such frames for which the shutter is open")
	f.Float64Var(&o.Pairs.Curve, "curve", 0, "share of averages that are of what frames show, not of their light")
	ranged(&o.Pairs.Shrink, "shrink", "make both photos smaller by this factor after the exposure")
	f.Uint64Var(&o.Pairs.Seed, "seed", 0, "seed of everything that is drawn")
	f.IntVarP(&o.Workers, "jobs", "j", 0, "pairs to make at a time (default: as many as there are processors)")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a line to standard output")
	return c
}

// rangeValue is a range as an option.
type rangeValue struct{ *synth.Range }

func (r rangeValue) Type() string { return "MIN:MAX" }

func (r rangeValue) Set(text string) error { return r.UnmarshalText([]byte(text)) }

func (o *synthOptions) validate() error {
	switch {
	case len(o.Inputs) == 0:
		return usagef("no photo to make pairs of: name sharp photos, or folders of them")
	case slices.Contains(o.Inputs, stdio):
		return usagef("photos cannot come from standard input: their names seed the pairs")
	case o.Output == "":
		return usagef("no folder to put the pairs into: name it with -o")
	case o.PerPhoto < 1:
		return usagef("--per-photo %d must be at least 1", o.PerPhoto)
	case o.Workers < 0 || o.Workers > 256:
		return usagef("-j %d is not from 1 to 256, or 0 for as many as there are processors", o.Workers)
	}
	if err := o.Pairs.Validate(); err != nil {
		return usagef("--%v", err)
	}
	return nil
}

func (a *app) synth(ctx context.Context, o *synthOptions) error {
	f := newFinder(o.Recursive)
	f.outputRoot = identity(o.Output)
	for _, arg := range o.Inputs {
		if err := f.add(arg); err != nil {
			return err
		}
	}
	r := a.newSynthReport(o, f.jobs, f.passedOver)
	defer r.close()
	run := synth.RunOptions{Options: o.Pairs, PerPhoto: o.PerPhoto, Output: o.Output, Workers: o.Workers, Report: r.event}
	for _, j := range f.jobs {
		if j.err != nil {
			r.event(synth.Event{Kind: synth.Failed, Source: synth.Source{Path: j.input}, Pairs: o.PerPhoto, Err: j.err})
			continue
		}
		run.Sources = append(run.Sources, synth.Source{Path: j.input, Name: j.name})
	}
	if len(run.Sources) > 0 {
		if err := synth.Run(ctx, run); err != nil {
			return err
		}
	}
	if r.sum.Failed > 0 {
		return errReported
	}
	return nil
}

// synthEvent is a line of synth --json.
type synthEvent struct {
	Event  synth.EventKind `json:"event"`
	Source string          `json:"source"`
	Pairs  int             `json:"pairs"`
	Pair   *synth.Pair     `json:"pair,omitempty"`
	Error  string          `json:"error,omitempty"`

	Message string `json:"message,omitempty"` // of a warning
}

// synthSummary is the last line of synth --json. All but the seconds are numbers of pairs.
type synthSummary struct {
	Event   string  `json:"event"`
	Pairs   int     `json:"pairs"`
	Made    int     `json:"made"`
	Skipped int     `json:"skipped"`
	Flat    int     `json:"flat"`
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"`

	PassedOver folder.Kinds `json:"passed_over,omitempty"` // files: by folders, pictures that are not read, and videos
}

// synthReport prints a line for every photo, or with --json for every event; on terminals a progress bar over all pairs.
type synthReport struct {
	*app
	json     bool
	start    time.Time
	sum      synthSummary
	photos   int                      // all of them
	finished int                      // photos of which all pairs are decided
	counts   map[string]*synthSummary // of a photo
	perPhoto int
	steps    *steps
}

func (a *app) newSynthReport(o *synthOptions, jobs []*job, passedOver folder.Kinds) *synthReport {
	r := &synthReport{app: a, json: o.JSON, start: time.Now(), photos: len(jobs), counts: map[string]*synthSummary{}, perPhoto: o.PerPhoto}
	r.sum = synthSummary{Event: "summary", Pairs: len(jobs) * o.PerPhoto, PassedOver: passedOver}
	r.steps = &steps{out: a.stderr, screen: a.screen}
	return r
}

func (s *synthSummary) add(e synth.Event) {
	switch e.Kind {
	case synth.Done:
		s.Made += e.Pairs
	case synth.Skipped:
		s.Skipped += e.Pairs
	case synth.Flat:
		s.Flat += e.Pairs
	case synth.Failed:
		s.Failed += e.Pairs
	}
}

func (s *synthSummary) decided() int { return s.Made + s.Skipped + s.Flat + s.Failed }

// describe is "12 pairs, 3 were there".
func (s *synthSummary) describe() string {
	text := plural(s.Made, "pair")
	if s.Skipped > 0 {
		text += fmt.Sprintf(", %d were there", s.Skipped)
	}
	if s.Flat > 0 {
		text += fmt.Sprintf(", %d left out for want of detail", s.Flat)
	}
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	return text
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// event is called by one goroutine at a time.
func (r *synthReport) event(e synth.Event) {
	r.sum.add(e)
	if r.json {
		line := synthEvent{Event: e.Kind, Source: e.Source.Path, Pairs: e.Pairs, Pair: e.Pair}
		if e.Err != nil {
			line.Error = e.Err.Error()
		}
		if e.Kind == synth.Unmanaged {
			line.Message = folder.Unmanaged(e.Source.Path)
		}
		r.print(line)
		return
	}
	if e.Kind == synth.Unmanaged {
		fmt.Fprintf(r.stderr, "warning: %s\n", folder.Unmanaged(e.Source.Path))
		return
	}
	if r.screen != nil {
		r.steps.items("making pairs", r.sum.decided(), r.sum.Pairs)
	}
	photo := r.counts[e.Source.Path]
	if photo == nil {
		photo = &synthSummary{}
		r.counts[e.Source.Path] = photo
	}
	photo.add(e)
	last := photo.decided() >= r.perPhoto
	if last {
		r.finished++
	}
	count := ""
	if r.photos > 1 {
		count = fmt.Sprintf("[%d/%d] ", r.finished, r.photos)
	}
	switch {
	case e.Err != nil:
		fmt.Fprintf(r.stderr, "%serror: %v\n", count, e.Err)
	case last:
		fmt.Fprintf(r.stderr, "%s%s: %s\n", count, e.Source.Path, photo.describe())
	}
}

func (r *synthReport) print(v any) { jsonLines{r.stdout}.print(v) }

func (r *synthReport) close() {
	r.sum.Seconds = time.Since(r.start).Seconds()
	r.steps.close()
	if r.json {
		r.print(r.sum)
		return
	}
	defer printPassedOver(r.stderr, r.sum.PassedOver)
	if r.sum.decided() == 0 && r.sum.Pairs > 0 {
		return // the folder was refused
	}
	interrupted := ""
	if r.sum.decided() < r.sum.Pairs {
		interrupted = ", interrupted"
	}
	fmt.Fprintf(r.stderr, "made %s%s (%.1f s)\n", r.sum.describe(), interrupted, r.sum.Seconds)
}
