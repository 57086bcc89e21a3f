package hidiff

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hidiff/hidiff/checkpoint"
)

// configKey is the key of safetensors metadata that holds a [Config] as JSON.
const configKey = "hidiff.config"

// allNetworks, and deblurNetworks, which deblurring needs, in the order in which they are
// reported and hashed.
var (
	allNetworks    = []Network{NetG, NetLE, NetLEDM, NetD}
	deblurNetworks = []Network{NetG, NetLEDM, NetD}
)

// Weights are the parameters of one model and what they configure.
type Weights struct {
	Config Config
	// Nets holds net_g, net_le_dm, net_d and, where it was given, net_le. Parameters are
	// F32 and in PyTorch's order of registration.
	Nets map[Network]*checkpoint.StateDict
	// Sources says where each network came from: a path, and which iteration was chosen
	// where a folder held several.
	Sources map[Network]string
	// DTypes are the types that the files store, such as "F16"; loading turns them to F32.
	DTypes map[Network]string
	// Metadata are the safetensors metadata of the files, without the configuration.
	Metadata map[string]string
}

// LoadOptions are the options of [LoadWeights] and [ReadWeights].
type LoadOptions struct {
	// ParamKey is the state_dict to take where a file holds several of one network, such as
	// "params_ema": its key, or a part of its path. If empty, "params" is taken, else
	// "params_ema", else the only one.
	ParamKey string
	// Prior decides which networks must be there, and unless it is [SampledPrior], for
	// which "" stands, which are kept.
	Prior Prior
}

// LoadWeights reads a model from files and folders, in any order and under any name: each
// network is recognised by its tensors. A path may be
//
//   - a .pth or safetensors file of one network or several, such as [Weights.Save] writes, in
//     whatever trainers and PyTorch's wrappers put around them (module., state_dict, net_g.);
//   - a folder of such files, or an experiment's folder, whose models are taken. Of files
//     that differ by iteration only, such as net_g_1000.pth and net_g_latest.pth, those of
//     the last iteration are taken that all networks have.
//
// The configuration is that in a file's metadata, else that of the option file which training
// keeps beside an experiment's folder of models, else what the tensors tell, completed by
// the diffusion schedule that was released with this kind of net_d; [Weights.Configure] sets
// another. Every parameter is checked against it. LoadWeights fails, naming the files, where a network that deblurring
// needs is missing or there twice, where parameters are missing, unknown, of wrong shape or
// not finite, and where networks do not belong together. What is missing is a [MissingError].
func LoadWeights(ctx context.Context, o LoadOptions, paths ...string) (*Weights, error) {
	l := newGatherer(o)
	for _, path := range paths {
		if err := l.path(ctx, path); err != nil {
			return nil, err
		}
	}
	return l.finish()
}

// ReadWeights is [LoadWeights] of a file that is in memory; name stands for its path.
func ReadWeights(o LoadOptions, name string, data []byte) (*Weights, error) {
	file, err := checkpoint.Read(bytes.NewReader(data), int64(len(data)), name)
	if err != nil {
		return nil, err
	}
	l := newGatherer(o)
	if err := l.file(file, ""); err != nil {
		return nil, err
	}
	return l.finish()
}

type gatherer struct {
	paramKey string
	prior    Prior
	w        *Weights
	configs  map[Network]any // what Recognize says
	stated   string          // the file whose metadata set w.Config; "" if none
}

func newGatherer(o LoadOptions) *gatherer {
	return &gatherer{paramKey: o.ParamKey, prior: o.Prior, configs: map[Network]any{}, w: &Weights{
		Nets: map[Network]*checkpoint.StateDict{}, Sources: map[Network]string{}, DTypes: map[Network]string{}, Metadata: map[string]string{},
	}}
}

// finish returns the model, if what was loaded is one.
func (l *gatherer) finish() (*Weights, error) {
	if err := l.w.complete(l.prior); err != nil {
		return nil, err
	}
	l.keepNeeded()
	if err := l.configure(); err != nil {
		return nil, err
	}
	return l.w, nil
}

// path loads a file or the files of a folder.
func (l *gatherer) path(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	files, note := []string{path}, ""
	if info.IsDir() {
		if files, note, err = filesOf(path); err != nil {
			return err
		}
	}
	for _, path := range files {
		file, err := checkpoint.Open(ctx, path)
		if err != nil {
			return err
		}
		if err := l.file(file, note); err != nil {
			return err
		}
	}
	return nil
}

// file takes in the network or networks of a file.
func (l *gatherer) file(file *checkpoint.File, note string) error {
	if err := l.metadata(file.Path, file.Metadata); err != nil {
		return err
	}
	found, err := findNetworks(file)
	if err != nil {
		return err
	}
	for _, net := range allNetworks {
		sd, err := found.weights(net, l.paramKey)
		if err != nil {
			return err
		}
		if sd == nil {
			continue
		}
		if err := l.network(sd, file.Path+note); err != nil {
			return fmt.Errorf("%s: %w%s", file.Path, err, unread(file))
		}
	}
	return nil
}

func (l *gatherer) metadata(path string, metadata map[string]string) error {
	for key, value := range metadata {
		if key != configKey {
			l.w.Metadata[key] = value
			continue
		}
		var c Config
		err := json.Unmarshal([]byte(value), &c)
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			return fmt.Errorf("%s: metadata %s: %w", path, configKey, err)
		}
		if l.stated != "" && c != l.w.Config {
			return fmt.Errorf("%s and %s do not belong together: their configurations differ", l.stated, path)
		}
		l.w.Config, l.stated = c, path
	}
	return nil
}

// network takes in one network.
func (l *gatherer) network(sd *checkpoint.StateDict, source string) error {
	net, config, err := Recognize(sd)
	if err != nil {
		return err
	}
	if other, twice := l.w.Sources[net]; twice {
		return fmt.Errorf("this is %s, as is %s: give one of them", net, other)
	}
	specs := config.(networkConfig).Parameters()
	if err := Check(specs, sd); err != nil {
		return fmt.Errorf("%s: %w", net, err)
	}
	ordered, types := checkpoint.NewStateDict(), map[string]bool{}
	for _, spec := range specs {
		array, _ := sd.Get(spec.Name)
		types[string(array.DType)] = true
		array = array.As(checkpoint.F32)
		if !allFinite(array) {
			return fmt.Errorf("%s: %s holds NaN or infinite values: the training diverged, or the file is damaged", net, spec.Name)
		}
		ordered.Set(spec.Name, array)
	}
	l.w.Nets[net], l.w.Sources[net], l.configs[net] = ordered, source, config
	l.w.DTypes[net] = strings.Join(slices.Sorted(maps.Keys(types)), ", ")
	return nil
}

// MissingError says that networks were given, each of them sound, but not all that
// deblurring needs, or another prior.
type MissingError struct {
	Given, Missing []Network
	sources        map[Network]string
	prior          Prior
}

func (e *MissingError) Error() string {
	missing, given := make([]string, len(e.Missing)), make([]string, len(e.Given))
	for i, net := range e.Missing {
		missing[i] = string(net)
	}
	for i, net := range e.Given {
		given[i] = strings.TrimSpace(fmt.Sprintf("%s %s", net, e.sources[net]))
	}
	if len(given) == 0 {
		given = []string{"none"}
	}
	hint := ""
	if slices.Contains(e.Given, NetLE) && slices.Contains(e.Missing, NetLEDM) {
		hint = "; net_le is of stage one and sees the sharp image: it cannot stand in for net_le_dm"
	}
	return fmt.Sprintf("weights lack %s: %s, and given were: %s%s", strings.Join(missing, ", "), e.prior.needs(), strings.Join(given, ", "), hint)
}

// complete returns a [MissingError] where networks are missing that a prior needs.
func (w *Weights) complete(p Prior) error {
	e := &MissingError{sources: w.Sources, prior: p}
	for _, net := range p.Networks() {
		if w.Nets[net] == nil {
			e.Missing = append(e.Missing, net)
		}
	}
	if e.Missing == nil {
		return nil
	}
	for _, net := range allNetworks {
		if w.Nets[net] != nil {
			e.Given = append(e.Given, net)
		}
	}
	return e
}

// weightsFile matches the names of weights in a folder, with and without an iteration.
var weightsFile = regexp.MustCompile(`^([^.].*?)(?:_(latest|[0-9]{1,18}))?(?i:\.(?:pth|pt|ckpt|safetensors))$`)

// filesOf returns the weights files of a folder, one iteration only, and a note on the
// choice, if there was one.
func filesOf(dir string) (files []string, note string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, "", fmt.Errorf("weights: %w", err)
	}
	series := map[string]map[string][]string{} // by name, then iteration
	for _, e := range entries {
		m := weightsFile.FindStringSubmatch(e.Name())
		path := filepath.Join(dir, e.Name())
		switch {
		case m == nil || e.IsDir():
		case m[2] == "":
			files = append(files, path)
		default:
			if series[m[1]] == nil {
				series[m[1]] = map[string][]string{}
			}
			series[m[1]][m[2]] = append(series[m[1]][m[2]], path)
		}
	}
	if len(series) == 0 && files == nil {
		models := filepath.Join(dir, "models")
		if info, err := os.Stat(models); err == nil && info.IsDir() {
			return filesOf(models)
		}
		return nil, "", fmt.Errorf("%s: the folder holds no weights (.pth or .safetensors)", dir)
	}
	if len(series) == 0 {
		return files, "", nil
	}
	last, of := lastIteration(series)
	if last == "" {
		return nil, "", fmt.Errorf("%s: no iteration is there of all of %s: name the files instead of the folder",
			dir, strings.Join(slices.Sorted(maps.Keys(series)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(series)) {
		files = append(files, series[name][last]...)
	}
	if of > 1 {
		note = fmt.Sprintf(" (%s of %d iterations)", last, of)
	}
	return files, note, nil
}

// lastIteration returns the last iteration that all series have, "" if none, and the number
// of iterations. net_le need not have it: stage two does not train it.
func lastIteration(series map[string]map[string][]string) (last string, of int) {
	count := map[string]int{}
	need := 0
	for name, iterations := range series {
		if name == string(NetLE) && len(series) > 1 {
			continue
		}
		need++
		for iteration := range iterations {
			count[iteration]++
		}
	}
	highest := int64(-1)
	for iteration, n := range count {
		if n < need {
			continue
		}
		if iteration == "latest" {
			return iteration, len(count)
		}
		if number, err := strconv.ParseInt(iteration, 10, 64); err == nil && number > highest {
			last, highest = iteration, number
		}
	}
	return last, len(count)
}

// Save writes the model as one safetensors file in F32 or F16, with its configuration in
// the metadata, so that [LoadWeights] needs nothing else. The write is atomic. It fails
// where LoadWeights could not read the file, and where a value is too large for F16.
func (w *Weights) Save(path string, dtype checkpoint.DType) error {
	if dtype != checkpoint.F32 && dtype != checkpoint.F16 {
		return fmt.Errorf("save %s: weights are saved as F32 or F16, not as %s", path, dtype)
	}
	config, err := json.Marshal(w.Config)
	if err := errors.Join(w.Config.Validate(), w.complete(SampledPrior), err); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	groups := map[string]*checkpoint.StateDict{}
	for net, sd := range w.Nets {
		if err := Check(w.Config.Parameters(net), sd); err != nil {
			return fmt.Errorf("save %s: %s: %w", path, net, err)
		}
		group := checkpoint.NewStateDict()
		for key, array := range sd.All() {
			array = array.As(checkpoint.F32).As(dtype)
			if !allFinite(array.As(checkpoint.F32)) {
				return fmt.Errorf("save %s: %s: %s holds values that are no finite %s numbers", path, net, key, dtype)
			}
			group.Set(key, array)
		}
		groups[string(net)] = group
	}
	metadata := maps.Clone(w.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[configKey] = string(config)
	if err := checkpoint.WriteSafetensors(path, groups, metadata); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	return nil
}

// Hash returns 16 hexadecimal digits that identify these networks, or those that deblurring
// needs where none are named: the start of a SHA-256 over their parameters' names, shapes
// and float32 values. It does not depend on the file format, unless values were rounded to
// F16.
func (w *Weights) Hash(nets ...Network) string {
	if nets == nil {
		nets = deblurNetworks
	}
	hash := sha256.New()
	for _, net := range nets {
		sd := w.Nets[net]
		if sd == nil {
			continue
		}
		for _, key := range slices.Sorted(slices.Values(sd.Keys())) {
			array, _ := sd.Get(key)
			fmt.Fprintf(hash, "%s.%s %v\n", net, key, array.Shape)
			hash.Write(array.As(checkpoint.F32).Data)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// FillWeights returns all four networks of a valid configuration, each parameter filled
// with what fill returns for it, row-major. It panics where that is of the wrong length.
func FillWeights(c Config, fill func(net, key string, shape []int) []float32) *Weights {
	w := &Weights{Config: c, Nets: map[Network]*checkpoint.StateDict{}, Sources: map[Network]string{}, Metadata: map[string]string{}}
	for _, net := range allNetworks {
		sd := checkpoint.NewStateDict()
		for _, spec := range c.Parameters(net) {
			sd.Set(spec.Name, checkpoint.NewArray(spec.Shape, fill(string(net), spec.Name, spec.Shape)))
		}
		w.Nets[net] = sd
	}
	return w
}

// allFinite looks at F32 data without converting them.
func allFinite(a *checkpoint.Array) bool {
	for i := 0; i < len(a.Data); i += 4 {
		if binary.LittleEndian.Uint32(a.Data[i:])&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
