package cli

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"hidiff/hidiff"
	"hidiff/hidiff/models"
	"hidiff/hidiff/photo"
	"hidiff/wgpu"
)

// byteSize is an option such as 1.5GiB, 1500M or 2g. Units are powers of 1024.
type byteSize int64

func (b *byteSize) Type() string { return "size" }

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return wgpu.FormatBytes(int64(*b))
}

var sizePattern = regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]+)?) ?(?:([KMGT])i?)?B?$`)

func (b *byteSize) Set(text string) error {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return errors.New("this is no size: write 1.5GiB, 1500M or a number of bytes")
	}
	value, err := strconv.ParseFloat(m[1], 64)
	if m[2] != "" {
		value *= math.Pow(1024, float64(1+strings.Index("KMGT", strings.ToUpper(m[2]))))
	}
	if err != nil || value >= 1<<62 {
		return errors.New("no GPU has that much")
	}
	*b = byteSize(value)
	return nil
}

// workers is how many goroutines decode and how many encode: N, or load:proc:save as the
// ncnn tools write it, where proc has no meaning here: the GPU works on one photo at a time.
type workers struct{ decode, encode int }

func (w *workers) Type() string { return "N" }

func (w *workers) String() string {
	if w.decode == w.encode {
		return strconv.Itoa(w.decode)
	}
	return fmt.Sprintf("%d:1:%d", w.decode, w.encode)
}

func (w *workers) Set(text string) error {
	parts := strings.Split(text, ":")
	numbers := make([]int, len(parts))
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 || n > 256 || (len(parts) != 1 && len(parts) != 3) {
			return errors.New("this is no number of workers: write N or load:proc:save, each from 1 to 256")
		}
		numbers[i] = n
	}
	*w = workers{numbers[0], numbers[len(numbers)-1]}
	return nil
}

// background is an option such as white or #ff8000.
type background struct{ color.Color }

func (b *background) Type() string { return "colour" }

func (b *background) String() string {
	if b.Color == nil {
		return ""
	}
	c := color.NRGBAModel.Convert(b.Color).(color.NRGBA)
	return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)
}

func (b *background) Set(text string) error {
	c, ok := photo.ParseColor(text)
	if !ok {
		return errors.New("this is no colour: write white, black or #rrggbb, with '#' in quotes")
	}
	b.Color = c
	return nil
}

// addGPUFlag adds -g, which completes to adapters.
func addGPUFlag(c *cobra.Command, gpu *string) {
	c.Flags().StringVarP(gpu, "gpu", "g", "", "GPU: number or part of a name, as 'hidiff gpus' lists them (default: the first)")
	must(c.RegisterFlagCompletionFunc("gpu", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, adapter := range wgpu.Adapters() {
			names = append(names, fmt.Sprintf("%d\t%s", adapter.Index, adapter.Name), adapter.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}))
}

// must is for what fails only by a mistake in this package, such as a misspelt flag name.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// weightsHelp says what a command takes for weights.
const weightsHelp = "a name that 'hidiff models' lists, a .safetensors or .pth file, or a folder of them; repeat it for net_g, net_le_dm and net_d"

// addParamKeyFlag adds --param-key, which goes with weights.
func addParamKeyFlag(c *cobra.Command, key *string) {
	c.Flags().StringVar(key, "param-key", "", "state_dict to take where a file holds several of one network, such as params_ema (default: params, else params_ema, else the only one)")
}

// inFlags adds to an error which option it is about: packages for other programs know none.
func inFlags(err error) error {
	option := ""
	if e := new(hidiff.BudgetError); errors.As(err, &e) {
		option = "memory"
	}
	if e := new(models.OptionError); errors.As(err, &e) {
		option = strings.ToLower(e.Option)
	}
	if option == "" {
		return err
	}
	return fmt.Errorf("%w (option --%s)", err, option)
}

// loadModel loads what is named, else what $HIDIFF_MODEL names, else the built-in model.
func loadModel(ctx context.Context, o hidiff.LoadOptions, args []string) (*hidiff.Weights, error) {
	if len(args) == 0 {
		args = filepath.SplitList(os.Getenv("HIDIFF_MODEL"))
	}
	return models.Load(ctx, o, args...)
}

// openModel prepares weights on a GPU, and says so if that is none.
func openModel(ctx context.Context, w *hidiff.Weights, o hidiff.Options) (restorer, error) {
	m, err := hidiff.NewModel(ctx, w, o)
	if err != nil {
		return nil, err
	}
	if x := m.Device().Adapter(); x.Software && o.GPU == "" {
		o.Logger.Warn("there is no hardware GPU: this runs on the CPU, slowly", "adapter", x.Name)
	}
	return m, nil
}
