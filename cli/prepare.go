package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"hidiff/internal/folder"
	"hidiff/internal/prepare"
	"hidiff/internal/suggest"
)

// prepareGoProOptions are the options of prepare gopro as given.
type prepareGoProOptions struct {
	Source, Output string
	prepare.Cutting
	Workers int // 0: one for each CPU
	JSON    bool
}

// prepareCheckOptions are the options of prepare check as given: folders, or one input and one target.
type prepareCheckOptions struct {
	Folders       []string
	Input, Target string
	Decode        bool
	Workers       int
	JSON          bool
}

const prepareGoProLong = `Cut GoPro into the crops that the released option files train and validate on:

  OUT/crop/train/input_crops, target_crops   512×512 at every 256 pixels, 8 a photo
  OUT/crop/val/input_crops, target_crops     the centre 256×256 of the test photos

SRC is GoPro as its authors publish it (GOPRO_Large; photos are taken from blur, not from
blur_gamma), or as other projects lay it out, or the folder it lies in. What is found is said.

All pairs are checked before anything is written. Crops are lossless, keep 16 bits, and are
counted at the end. What is there already is kept: after an interruption, run it again.`

const prepareCheckLong = `Check datasets of blurry and sharp photos: whether all have partners of equal size, depth and
colour, and can be read. DIR and its subfolders are searched for pairs of folders called
  %s,
in any case. Folders of other names are given with --input and --target.

With --decode, all pixels are read: damage inside of files is found, and pictures that are there
twice. Exit code: 0 all is well, 1 there are problems.`

func newPrepareCommand(_ *app, gopro func(context.Context, *prepareGoProOptions) error, check func(context.Context, *prepareCheckOptions) error) *cobra.Command {
	c := &cobra.Command{
		Use:   "prepare",
		Short: "Make and check datasets for training",
		Args:  cobra.ArbitraryArgs, // so that a mistyped command gets here
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usagef("there is no command %q in prepare%s", args[0], suggest.Text(args[0], []string{"gopro", "check"}))
		},
	}
	c.AddCommand(newPrepareGoProCommand(gopro), newPrepareCheckCommand(check))
	return c
}

func newPrepareGoProCommand(run func(context.Context, *prepareGoProOptions) error) *cobra.Command {
	o := &prepareGoProOptions{}
	c := &cobra.Command{
		Use:     "gopro SRC [-o OUT]",
		Short:   "Cut GoPro into the crops to train on",
		Long:    prepareGoProLong,
		Example: "  hidiff prepare gopro GOPRO_Large\n  hidiff prepare gopro datasets/GoPro -j 8",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give one folder: the one that GoPro was unpacked into")
			}
			o.Source = args[0]
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Output, "output", "o", "datasets/GoPro", "folder for crop/train and crop/val")
	f.IntVar(&o.Crop, "crop", prepare.Released.Crop, "pixels of a side of training crops")
	f.IntVar(&o.Stride, "stride", prepare.Released.Stride, "pixels from one training crop to the next")
	f.IntVar(&o.Val, "val-crop", prepare.Released.Val, "pixels of a side of validation crops")
	f.IntVarP(&o.Workers, "jobs", "j", 0, "pairs to cut at a time (default: one for each CPU)")
	f.BoolVar(&o.JSON, "json", false, "print JSON")
	return c
}

func (o *prepareGoProOptions) validate() error {
	switch {
	case o.Output == "":
		return usagef("-o is empty: give the folder for the crops")
	case o.Crop < 1:
		return usagef("--crop %d: it must be at least 1", o.Crop)
	case o.Stride < 1 || o.Stride > o.Crop:
		return usagef("--stride %d is not from 1 to %d, the size of a crop", o.Stride, o.Crop)
	case o.Val < 1:
		return usagef("--val-crop %d: it must be at least 1", o.Val)
	}
	return validateJobs(o.Workers)
}

func validateJobs(n int) error {
	if n < 0 || n > 256 {
		return usagef("-j %d is not from 1 to 256", n)
	}
	return nil
}

func newPrepareCheckCommand(run func(context.Context, *prepareCheckOptions) error) *cobra.Command {
	o := &prepareCheckOptions{}
	c := &cobra.Command{
		Use:     "check DIR...",
		Short:   "Check datasets: pairs, sizes, damaged and duplicate photos",
		Long:    fmt.Sprintf(prepareCheckLong, strings.Join(prepare.Names(), ",\n  ")),
		Example: "  hidiff prepare check datasets/GoPro --decode\n  hidiff prepare check --input my/blurred --target my/originals",
		RunE: func(c *cobra.Command, args []string) error {
			o.Folders = args
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Input, "input", "", "folder of blurry photos, with --target and without DIR")
	f.StringVar(&o.Target, "target", "", "folder of sharp photos")
	f.BoolVar(&o.Decode, "decode", false, "read all pixels, not only headers; find duplicates")
	f.IntVarP(&o.Workers, "jobs", "j", 0, "pairs to read at a time (default: one for each CPU)")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a dataset, on a line")
	return c
}

func (o *prepareCheckOptions) validate() error {
	switch {
	case (o.Input == "") != (o.Target == ""):
		return usagef("--input and --target go together: give both folders")
	case o.Input != "" && len(o.Folders) > 0:
		return usagef("give folders to search, or --input and --target, not both")
	case o.Input == "" && len(o.Folders) == 0:
		return usagef("no dataset to check: name its folder, or both of its folders with --input and --target")
	}
	return validateJobs(o.Workers)
}

func (a *app) prepareGoPro(ctx context.Context, o *prepareGoProOptions) error {
	steps := &steps{out: a.stderr, screen: a.screen}
	defer steps.close()
	work, err := prepare.FindGoPro(ctx, prepare.GoProOptions{
		Source: o.Source, Output: o.Output, Cutting: o.Cutting, Workers: o.Workers, Progress: steps.items,
	})
	steps.close()
	if err != nil {
		return err
	}
	for _, s := range work.Splits {
		fmt.Fprintf(a.stderr, "%s: input %s, target %s: %s\n", s.Name, s.Input, s.Target, counted(s.Pairs, "pair"))
	}
	for _, note := range work.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	hurt := "nothing was written"
	if len(work.Problems) == 0 {
		hurt = "their crops are lacking: run this again after repair"
		err = work.Run(ctx)
		steps.close()
	}
	if err := a.printPrepared(work, o.JSON); err != nil {
		return err
	}
	if err == nil && len(work.Problems) > 0 {
		err = fmt.Errorf("%s: %s; %s\n%s", o.Source, counted(len(work.Problems), "problem"), hurt, strings.TrimSuffix(prepare.Describe(work.Problems), "\n"))
	}
	return err
}

// printPrepared prints what became of the work.
func (a *app) printPrepared(p *prepare.Work, asJSON bool) error {
	if asJSON {
		return printJSON(a.stdout, p)
	}
	for _, s := range p.Splits {
		if s.Written+s.Kept == 0 {
			continue
		}
		line := fmt.Sprintf("%s: %d of %d crops in %s: %d written", s.Name, s.Written+s.Kept, s.Crops, s.Output, s.Written)
		if s.Kept > 0 {
			line += fmt.Sprintf(", %d there already", s.Kept)
		}
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// counted is "1 pair" or "2 pairs".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (a *app) prepareCheck(ctx context.Context, o *prepareCheckOptions) error {
	var datasets []prepare.Folders
	if o.Input != "" {
		datasets = append(datasets, prepare.TwoFolders(o.Input, o.Target))
	}
	for _, dir := range o.Folders {
		found, err := prepare.Find(dir)
		if err != nil {
			return err
		}
		datasets = append(datasets, found...)
	}
	steps := &steps{out: a.stderr, screen: a.screen}
	defer steps.close()
	problems := 0
	for i, d := range datasets {
		report, err := prepare.Check(ctx, d, prepare.CheckOptions{
			Decode: o.Decode, Workers: o.Workers,
			Progress: func(done, total int) { steps.items("checking "+d.Input(), done, total) },
		})
		steps.close()
		if err != nil {
			return err
		}
		problems += len(report.Problems)
		if o.JSON {
			err = printJSON(a.stdout, report)
		} else {
			err = printReport(a.stdout, report, i > 0)
		}
		if err != nil {
			return err
		}
	}
	if problems > 0 {
		return fmt.Errorf("%s in %s", counted(problems, "problem"), counted(len(datasets), "dataset"))
	}
	return nil
}

func printReport(out io.Writer, r *prepare.Report, apart bool) error {
	sizes := func(s prepare.SizeCount) string {
		return fmt.Sprintf("%d×%d (%s)", s.Width, s.Height, counted(s.Photos, "photo"))
	}
	var text strings.Builder
	if apart {
		text.WriteString("\n")
	}
	fmt.Fprintf(&text, "input:  %s\ntarget: %s\npairs:  %d\n", r.Input, r.Target, r.Pairs)
	switch {
	case r.Common.Photos == 0: // none could be read
	case r.Smallest == r.Largest:
		fmt.Fprintf(&text, "size:   %s\n", sizes(r.Common))
	default:
		fmt.Fprintf(&text, "sizes:  smallest %s, largest %s, most common %s\n", sizes(r.Smallest), sizes(r.Largest), sizes(r.Common))
	}
	if r.Common.Photos > 0 {
		fmt.Fprintf(&text, "depth:  %s\ncolour: %s\n", tally(r.Depths, " bits"), tally(r.Colours, ""))
	}
	if len(r.Problems) == 0 {
		text.WriteString("no problems\n")
	}
	text.WriteString(prepare.Describe(r.Problems))
	if r.Unmanaged != nil {
		fmt.Fprintf(&text, "warning: %s\n", folder.Unmanaged(r.Unmanaged...))
	}
	printPassedOver(&text, r.PassedOver)
	_, err := io.WriteString(out, text.String())
	return err
}

// tally is "16 bits (2 photos), 8 bits (4 photos)".
func tally(counts map[string]int, unit string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s%s (%s)", key, unit, counted(counts[key], "photo")))
	}
	return strings.Join(parts, ", ")
}
