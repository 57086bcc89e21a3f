package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"hidiff/internal/eval"
)

// goOn takes over what an earlier run of the same name left: datasets that this one does not evaluate, if they were
// restored in the same way, and with --skip-existing what is done of those that it does.
func (e *evaluation) goOn() error {
	path := e.scores()
	before, err := eval.ReadJSON(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err != nil && !e.SkipExisting:
		return nil
	case err != nil:
		return err
	}
	var apart []string // the settings that differ
	for key, value := range e.result.Restoring {
		if before.Restoring[key] != value {
			apart = append(apart, key)
		}
	}
	var others []*eval.Dataset
	var names []string
	for _, d := range before.Datasets {
		if datasetOf(e.result.Datasets, d.Name) == nil {
			others, names = append(others, d), append(names, d.Name)
		}
	}
	if others != nil && before.Seeds != e.Seeds {
		apart = append(apart, "number of seeds")
	}
	switch {
	case len(apart) == 0 && e.Results == "":
		for _, d := range others {
			e.result.Keep(d)
		}
	case others != nil && !e.SkipExisting:
		fmt.Fprintf(e.stderr, "note: %s is of another run and is replaced, with its scores of %s: --name writes elsewhere\n", path, strings.Join(names, ", "))
	}
	if !e.SkipExisting {
		return nil
	}
	for _, d := range e.result.Datasets {
		earlier := datasetOf(before.Datasets, d.Name)
		if earlier == nil || earlier.Suffix != d.Suffix { // files of this suffix, if there are any, are of a run before that
			continue
		}
		d.Earlier = earlier
		if identity(d.Input) != identity(earlier.Input) {
			apart = append(apart, "input of "+d.Name)
		}
		if identity(d.Target) != identity(earlier.Target) {
			apart = append(apart, "target of "+d.Name)
		}
	}
	if len(apart) == 0 {
		return nil
	}
	slices.Sort(apart)
	return fmt.Errorf("%s is of a run with another %s: choose another --name, or leave out --skip-existing to replace it", path, strings.Join(apart, ", "))
}

// datasetOf finds a dataset by its name; nil if it is not there.
func datasetOf(datasets []*eval.Dataset, name string) *eval.Dataset {
	for _, d := range datasets {
		if d.Name == name {
			return d
		}
	}
	return nil
}
