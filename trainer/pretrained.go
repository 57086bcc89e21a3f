package trainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// FindPretrained returns the file of a network that an option file names: the
// file itself, or where it is missing, what the same training most likely left
// instead, which note says. Released option files of stage two name a folder
// that begins with debug_, and an iteration that a shorter run never reached.
// name is the experiment's, net such as net_g.
func FindPretrained(path, name, net string) (found, note string, err error) {
	_, err = os.Stat(path)
	if err == nil {
		return path, "", nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	models, experiments := filepath.Dir(path), filepath.Dir(filepath.Dir(filepath.Dir(path)))
	folder := filepath.Base(filepath.Dir(models))
	folders := []string{
		models,
		filepath.Join(experiments, strings.TrimPrefix(folder, "debug_"), "models"),
		filepath.Join(experiments, "debug_"+folder, "models"),
		filepath.Join(experiments, strings.Replace(name, "S2", "S1", 1), "models"),
	}
	for _, f := range folders {
		if best := newestOf(f, net); best != "" {
			return best, fmt.Sprintf("%s is not there: %s is used instead", path, best), nil
		}
	}
	return "", "", fmt.Errorf("%s is not there%s", path, nearby(experiments, net))
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
