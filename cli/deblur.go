package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/photo"
)

// deblurOptions are the options of deblur as given; Suffix is "" where outputs go elsewhere.
type deblurOptions struct {
	Inputs []string // files, folders, patterns, or "-"

	Output       string // a file, a folder or "-"; "" is beside the inputs
	Suffix       string // put after the names of outputs
	Format       photo.Format
	Quality      int
	Strip        bool
	Background   background // behind what is transparent, where the format has no transparency
	Recursive    bool
	SkipExisting bool

	Weights  []string
	ParamKey string
	GPU      string
	Memory   byteSize
	Seed     uint64
	Ensemble,
	Plan, JSON bool
	Tile, TileOverlap int
	Workers           workers
}

func (o *deblurOptions) restoring(name string) hidiff.RestoreOptions {
	return hidiff.RestoreOptions{Seed: o.Seed, Name: name, Ensemble: o.Ensemble, Tile: o.Tile, TileOverlap: o.TileOverlap}
}

const deblurLong = `Deblur photos and videos. Photos are PNG, JPEG, TIFF, WebP and BMP files, folders of them,
patterns such as '*.jpg', or - for standard input.

Without -o, holiday.jpg becomes holiday_deblurred.jpg beside it, in the same format; BMP
becomes PNG. With -o, the result is that file if one file was given, else it goes into that
folder under the same name, in the same subfolders. No input is ever overwritten.

Orientation, EXIF, XMP, IPTC, ICC profile, print resolution, PNG's text and colour statements, the
gain map or motion video behind a JPEG's picture, 16 bits, grey and transparency are kept where
the format can, and named in a warning where it cannot. The whole photo is restored at once and exactly, however little memory there is; -t
restores in tiles, which is faster for some and inexact for all.

Videos (MP4, MOV, MKV, WebM and what else ffmpeg reads) are named themselves or by a pattern;
folders' are passed over. The programs ffmpeg and ffprobe must be installed. Frames are restored
one by one, each for itself and from the same noise, so the result may flicker. Their number and
times stay, also where the rate varies; sound, subtitles, chapters and metadata are copied;
rotation is applied. MP4, MOV and MKV are encoded as H.264, WebM as VP9, near to lossless, with
10 bits where there were more than 8; other kinds become MKV. Transparency makes MOV ProRes 4444, and
MKV and WebM VP9; MP4 does not keep it. A video that is cut off, or whose sound or subtitles are
damaged, is an error, but for transport streams, which do not tell where they end. -f, --quality,
--background, --strip and standard input are for photos alone.

Pictures in folders in formats that are not read, such as HEIC and raw files, are counted at the end.
A photo or video that fails does not stop the others. Exit code: 0 all went well, 1 some failed,
2 the command line is wrong, 130 interrupted; what is interrupted leaves nothing behind.`

const deblurExample = `  hidiff deblur holiday.jpg -m hidiff-gopro.safetensors
  hidiff deblur -i photos -r -o sharp -f png --skip-existing
  hidiff deblur -m net_g.pth -m net_le_dm.pth -m net_d.pth 'shots/*.tif' -o sharp
  cat in.png | hidiff deblur - > out.png
  hidiff deblur clip.mp4 -o sharp.mp4
  hidiff deblur --plan --memory 2GiB panorama.tif`

func newDeblurCommand(a *app, run func(context.Context, *deblurOptions) error) *cobra.Command {
	o := &deblurOptions{Workers: workers{2, 2}}
	var inputs []string
	var format string
	c := &cobra.Command{
		Use:     "deblur [-i] IN... [-o OUT] [-m MODEL]",
		Short:   "Deblur photos and videos",
		Long:    deblurLong,
		Example: deblurExample,
		RunE: func(c *cobra.Command, args []string) error {
			o.Inputs = append(inputs, args...)
			if o.Output != "" && !c.Flags().Changed("suffix") {
				o.Suffix = ""
			}
			if format != "" {
				var ok bool
				if o.Format, ok = photo.FormatOf("." + format); !ok {
					return usagef("-f %s is no format: it must be png, jpg, tif, webp or bmp", format)
				}
			}
			if err := o.validate(); err != nil {
				return err
			}
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&inputs, "input", "i", nil, "photo, video, folder, pattern or -; may be repeated, and given without -i")
	f.StringVarP(&o.Output, "output", "o", "", "file, folder, or - for standard output (default: beside the input)")
	f.StringArrayVarP(&o.Weights, "model", "m", nil, "weights: "+weightsHelp+" (default: $HIDIFF_MODEL, else the built-in)")
	addParamKeyFlag(c, &o.ParamKey)
	addGPUFlag(c, &o.GPU)
	f.IntVarP(&o.Tile, "tile", "t", 0, "pixels of a tile, at least 64; 0 is the whole photo, exactly")
	f.IntVar(&o.TileOverlap, "tile-overlap", 0, "pixels that tiles overlap by (default: an eighth of a tile)")
	f.VarP(&o.Workers, "jobs", "j", "photos to decode and to encode at a time, N or load:proc:save; the GPU takes one")
	f.StringVarP(&format, "format", "f", "", "output format of photos: png, jpg, tif, webp or bmp (default: the input's)")
	f.IntVar(&o.Quality, "quality", 95, "JPEG quality, 1 to 100")
	f.Var(&o.Background, "background", "what shows through transparency in JPEG and BMP: white, black or #rrggbb (default: white)")
	f.BoolVar(&o.Strip, "strip", false, "leave out all metadata of photos: EXIF, XMP, ICC profile and the like")
	f.StringVar(&o.Suffix, "suffix", "_deblurred", "put after the names of results; none is put by default where -o is given")
	f.BoolVarP(&o.Recursive, "recursive", "r", false, "take in the subfolders of folders")
	f.BoolVar(&o.SkipExisting, "skip-existing", false, "pass over what has its result already")
	f.BoolVarP(&o.Ensemble, "ensemble", "x", false, "average over eight flips and turns: 8 times slower, a little sharper")
	f.Uint64Var(&o.Seed, "seed", 0, "seed of the noise that the diffusion starts from")
	f.Var(&o.Memory, "memory", "GPU memory to use at most, such as 1.5GiB or 800M (units of 1024)")
	f.BoolVar(&o.Plan, "plan", false, "print how each photo or frame would be restored, and in how much memory, and stop")
	f.BoolVar(&o.JSON, "json", false, "print one JSON object a line to standard output, or to standard error if a photo goes to standard output")
	must(c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"png", "jpg", "tif", "webp", "bmp"}, cobra.ShellCompDirectiveNoFileComp)))
	return c
}

func (o *deblurOptions) validate() error {
	switch {
	case len(o.Inputs) == 0:
		return usagef("no photo to deblur: name files or folders, or - for standard input")
	case o.Tile != 0 && o.Tile < 64:
		return usagef("-t %d is too small: tiles have at least 64 pixels, and 0 is the whole photo", o.Tile)
	case o.TileOverlap != 0 && o.Tile == 0:
		return usagef("--tile-overlap needs tiles: give their size with -t")
	case o.TileOverlap < 0 || o.TileOverlap > o.Tile/2:
		return usagef("--tile-overlap %d is not from 0 to %d, half a tile", o.TileOverlap, o.Tile/2)
	case o.Quality < 1 || o.Quality > 100:
		return usagef("--quality %d is not from 1 to 100", o.Quality)
	case strings.ContainsAny(o.Suffix, `/\`):
		return usagef("--suffix %s must not contain / or \\: it is put after a file's name", o.Suffix)
	}
	return nil
}

// deblur does everything that can fail cheaply before the first GPU work.
func (a *app) deblur(ctx context.Context, o *deblurOptions) error {
	jobs, passedOver, err := o.jobs()
	if err != nil {
		return err
	}
	w, err := loadModel(ctx, hidiff.LoadOptions{ParamKey: o.ParamKey}, o.Weights)
	if err != nil {
		return err
	}
	if err := o.preflight(ctx, a.stdin, jobs); err != nil {
		return err
	}
	report := a.newReport(o, jobs, passedOver)
	if !anyLeft(jobs) { // spare the GPU
		return (&pipeline{report: report}).run(ctx, jobs)
	}
	engine, err := a.open(ctx, w, hidiff.Options{GPU: o.GPU, Memory: int64(o.Memory), Logger: a.logger()})
	if err != nil {
		return err
	}
	defer engine.Close()
	if o.Plan {
		return a.printPlans(ctx, engine, o, jobs, passedOver)
	}
	p := &pipeline{
		engine: engine, options: o.restoring, encoding: photo.EncodeOptions{Quality: o.Quality, Strip: o.Strip, Background: o.Background.Color},
		workers: o.Workers, report: report, stdout: a.stdout,
	}
	return p.run(ctx, jobs)
}

func anyLeft(jobs []*job) bool {
	for _, j := range jobs {
		if j.err == nil && !j.skip {
			return true
		}
	}
	return false
}

// notFound says in fewer words that there is no such file.
func notFound(path string, err error) error {
	if os.IsNotExist(err) {
		return fmt.Errorf("%s: there is no such file or folder", path)
	}
	return err
}
