package training

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"hidiff/hidiff"
	"hidiff/hidiff/options"
)

// Pretrained is the file that an option file names for a network's first weights.
type Pretrained struct {
	options.Pretrained        // as found; File is "" where none is named
	Option             string // that names it, such as path.pretrain_network_g
	Note               string // what was not as the option says; or ""
}

// FindPretrained finds the file of a network. Where what an option names is missing, that is what the same
// training most likely left instead, and a note says so: released option files of stage two name a folder
// that begins with debug_, and an iteration that a shorter run never reached.
func FindPretrained(o *options.Options, net hidiff.Network) (p Pretrained, err error) {
	p.Pretrained, p.Option = o.Path.Pretrained(string(net)), "path.pretrain_network_"+strings.TrimPrefix(string(net), "net_")
	if p.File == "" {
		return p, nil
	}
	if _, err = os.Stat(p.File); err == nil {
		return p, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("%s: %w", p.Option, err)
	}
	models, experiments := filepath.Dir(p.File), filepath.Dir(filepath.Dir(filepath.Dir(p.File)))
	folder := filepath.Base(filepath.Dir(models))
	for _, f := range []string{
		models,
		filepath.Join(experiments, strings.TrimPrefix(folder, "debug_"), "models"),
		filepath.Join(experiments, "debug_"+folder, "models"),
		filepath.Join(experiments, strings.Replace(o.Name, "S2", "S1", 1), "models"),
	} {
		if best := newestOf(f, string(net)); best != "" {
			p.File, p.Note = best, fmt.Sprintf("%s is not there: %s is used instead", p.File, best)
			return p, nil
		}
	}
	return p, fmt.Errorf("%s: %s is not there%s", p.Option, p.File, nearby(experiments, string(net)))
}

// newestOf returns a network's file of the highest iteration, or its latest.
func newestOf(folder, net string) string {
	files, err := filepath.Glob(filepath.Join(folder, net+"_*.pth"))
	if err != nil {
		return ""
	}
	best, most := "", -1
	for _, f := range files {
		iter := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), net+"_"), ".pth")
		n, err := strconv.Atoi(iter)
		if iter == "latest" {
			n, err = 0, nil
		}
		if err == nil && n > most {
			best, most = f, n
		}
	}
	return best
}

// nearby lists where else that network lies.
func nearby(experiments, net string) string {
	files, err := filepath.Glob(filepath.Join(experiments, "*", "models", net+"_*.pth"))
	if err != nil || len(files) == 0 {
		return fmt.Sprintf(", and no %s is in %s: train %s first, or say where its files are", net, experiments, trainedIn(net))
	}
	slices.Sort(files)
	return fmt.Sprintf("; there are %s", strings.Join(files[:min(len(files), 5)], ", "))
}

// trainedIn is the stage that makes a network; both make a net_g.
func trainedIn(net string) string {
	switch net {
	case "net_le":
		return "stage one"
	case "net_le_dm", "net_d":
		return "stage two"
	}
	return "it"
}
