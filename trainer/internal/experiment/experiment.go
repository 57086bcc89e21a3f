// Package experiment keeps what a training leaves, laid out as BasicSR's: an experiment's folder, and in it checkpoints
// that PyTorch reads, and that it may have written.
package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"hidiff/internal/atomicfile"
	"hidiff/internal/lock"
)

// Experiment is the folder of a training, laid out as BasicSR's:
//
//	experiments/<name>/models           net_g_<iter>.pth, net_g_latest.pth
//	experiments/<name>/training_states  <iter>.state
//	experiments/<name>/visualization
//	experiments/<name>/train_<name>_<time>.log
//	tb_logger/<name>
type Experiment struct {
	Name          string
	Dir           string // experiments/<name>
	models        string
	states        string
	visualization string
	TensorBoard   string // tb_logger/<name>; made when first written to
	Log           string
}

// Mode says what may happen to an experiment that has checkpoints.
type Mode int

const (
	Fresh  Mode = iota // nothing: it is an error, ErrExists
	Resume             // go on in it
	Anew               // put it aside, as <name>_archived_<time>
)

// ErrExists says that there are checkpoints already.
var ErrExists = errors.New("there is an experiment of this name")

func folderOf(root, name string) string { return filepath.Join(root, "experiments", name) }

// timeInNames is BasicSR's.
const timeInNames = "20060102_150405"

func checkName(name string) error {
	if !filepath.IsLocal(name) || name != filepath.Base(name) || name == "." {
		return fmt.Errorf("name: %q cannot be the name of a folder: choose a plain word such as train_GoPro_S1", name)
	}
	return nil
}

// Lock keeps other runs out of an experiment. The file lies beside its folder, which may be put aside.
func Lock(root, name string) (*lock.Lock, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	dir := folderOf(root, name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return nil, err
	}
	l, err := lock.Acquire(filepath.Join(filepath.Dir(dir), "."+name+".lock"))
	if held := new(lock.HeldError); errors.As(err, &held) {
		err = fmt.Errorf("%s is %w: wait for that to end, or give another name", dir, held)
	}
	return l, err
}

// place says where an experiment below root lies.
func place(root, name string, now time.Time) (*Experiment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	stamp := now.Format(timeInNames)
	dir := folderOf(root, name)
	return &Experiment{
		Name:          name,
		Dir:           dir,
		models:        filepath.Join(dir, "models"),
		states:        filepath.Join(dir, "training_states"),
		visualization: filepath.Join(dir, "visualization"),
		TensorBoard:   filepath.Join(root, "tb_logger", name),
		Log:           filepath.Join(dir, fmt.Sprintf("train_%s_%s.log", name, stamp)),
	}, nil
}

// Check finds out whether the files of an experiment can be written. It leaves nothing behind.
func Check(root, name string, tensorBoard bool) error {
	e, err := place(root, name, time.Now())
	if err != nil {
		return err
	}
	files := []string{e.Log, e.modelPath("any", "latest"), e.StatePath(0), filepath.Join(e.visualization, "any")}
	if tensorBoard {
		files = append(files, filepath.Join(e.TensorBoard, "any"))
	}
	var outputs atomicfile.Checker
	for _, file := range files {
		if err := outputs.Check(file); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	return nil
}

// Open makes the folders of an experiment below root, or finds them. Only
// Anew moves what is there.
func Open(root, name string, mode Mode, now time.Time) (*Experiment, error) {
	e, err := place(root, name, now)
	if err != nil {
		return nil, err
	}
	stamp := now.Format(timeInNames)
	switch found, err := e.holds(); {
	case err != nil:
		return nil, err
	case mode == Fresh && found != "":
		return nil, fmt.Errorf("%w: %s has %s", ErrExists, e.Dir, found)
	}
	if mode == Anew {
		for _, folder := range []string{e.Dir, e.TensorBoard} {
			if err := archive(folder, folder+"_archived_"+stamp); err != nil {
				return nil, fmt.Errorf("cannot put the old experiment aside: %w", err)
			}
		}
	}
	if mode == Resume {
		if err := e.finishSaving(); err != nil {
			return nil, err
		}
	}
	for _, folder := range []string{e.models, e.states, e.visualization} {
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return nil, err
		}
		// What a killed run was about to save.
		if err := os.RemoveAll(filepath.Join(folder, stagingFolder)); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// finishSaving gives the files of a checkpoint their names where a run was killed that had begun to. Its state is
// the last to be staged, so where it is, all are.
func (e *Experiment) finishSaving() error {
	iters, err := stateIters(filepath.Join(e.states, stagingFolder))
	if err != nil {
		return err
	}
	for _, iter := range iters {
		nets, err := os.ReadDir(filepath.Join(e.models, stagingFolder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		var s staged
		for _, net := range nets {
			if strings.HasSuffix(net.Name(), fmt.Sprintf("_%d.pth", iter)) {
				s = append(s, filepath.Join(e.models, net.Name()))
			}
		}
		if err := append(s, e.StatePath(iter)).commit(); err != nil {
			return err
		}
	}
	return nil
}

// archive renames a folder, if it is there, to a name that is free.
func archive(folder, to string) error {
	free := to
	for n := 2; ; n++ {
		if _, err := os.Lstat(free); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		free = fmt.Sprintf("%s_%d", to, n)
	}
	if err := os.Rename(folder, free); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// holds says in words what of a training is there, or nothing.
func (e *Experiment) holds() (string, error) {
	iters, err := stateIters(e.states)
	if err != nil {
		return "", err
	}
	if len(iters) > 0 {
		return fmt.Sprintf("checkpoints up to iteration %d", iters[len(iters)-1]), nil
	}
	models, err := os.ReadDir(e.models)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, m := range models {
		if strings.HasPrefix(m.Name(), "net_") && strings.HasSuffix(m.Name(), ".pth") {
			return "trained networks (" + m.Name() + ")", nil
		}
	}
	return "", nil
}

// Latest returns the path of the state of the highest iteration, or "" if there is none.
func (e *Experiment) Latest() (string, error) {
	iters, err := stateIters(e.states)
	if err != nil || len(iters) == 0 {
		return "", err
	}
	return e.StatePath(iters[len(iters)-1]), nil
}

func (e *Experiment) modelPath(net, iter string) string {
	return filepath.Join(e.models, fmt.Sprintf("%s_%s.pth", net, iter))
}

// PicturePath is where a photo of this name, restored in validation, goes.
func (e *Experiment) PicturePath(name string, iter int) string {
	name = filepath.FromSlash(name)
	return filepath.Join(e.visualization, name, fmt.Sprintf("%s_%d.png", filepath.Base(name), iter))
}

// Save writes c's networks and then its state, and returns the state's path. All of it is
// on disk before the first file takes its name, and the state takes its name last: where
// there is a state, its networks are complete. If a write fails, as on a full disk, all is as
// it was before.
func (e *Experiment) Save(c *Checkpoint) (string, error) {
	iter := strconv.Itoa(c.Iter)
	path := e.StatePath(c.Iter)
	err := e.write(c, iter, path)
	if err != nil {
		return "", saveFailed("iteration "+iter, err)
	}
	return path, nil
}

// SaveState puts c's state in the place of the one that Save wrote, whose networks stay: at any
// time one of the two is there.
func (e *Experiment) SaveState(c *Checkpoint) error {
	var s staged
	defer func() { s.discard() }()
	err := s.add(e.StatePath(c.Iter), c.state())
	if err == nil {
		err = s.commit()
	}
	if err != nil {
		return fmt.Errorf("the validation of iteration %d cannot be noted in its checkpoint, which is as it was: %w", c.Iter, err)
	}
	return nil
}

// SaveLatest writes c's networks as net_*_latest.pth, at the end of a training.
func (e *Experiment) SaveLatest(c *Checkpoint) error {
	if err := e.write(c, "latest", ""); err != nil {
		return saveFailed("the final networks", err)
	}
	return nil
}

// write saves the networks and, unless the path is empty, the state.
func (e *Experiment) write(c *Checkpoint, iter, statePath string) error {
	var s staged
	defer func() { s.discard() }()
	for _, net := range Networks(c.Params) {
		weights, err := c.network(net)
		if err != nil {
			return err
		}
		if err := s.add(e.modelPath(net, iter), weights); err != nil {
			return err
		}
	}
	if statePath != "" {
		if err := s.add(statePath, c.state()); err != nil {
			return err
		}
		// A state that is to be replaced must not be there with half of its networks new.
		if err := os.Remove(statePath); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.commit()
}

// Prune deletes checkpoints before iteration iter, so that with it the newest keep remain;
// those of the protected iterations stay and do not count. Later ones, from which an older state
// was resumed, stay too. With keep 0 all stay. What it was killed in the middle of, [Experiment.FinishPruning] ends.
func (e *Experiment) Prune(iter, keep int, nets []string, protected ...int) error {
	iters, err := stateIters(e.states)
	if err != nil || keep <= 0 {
		return err
	}
	iters = slices.DeleteFunc(iters, func(i int) bool { return i >= iter || slices.Contains(protected, i) })
	for _, old := range iters[:max(0, len(iters)-(keep-1))] {
		// A state promises that its networks are there; under this name it promises that they go.
		if err := os.Rename(e.StatePath(old), e.StatePath(old)+prunedSuffix); err != nil {
			return fmt.Errorf("cannot delete an old checkpoint: %w", err)
		}
	}
	return e.FinishPruning(nets)
}

// prunedSuffix is put after the names of states while their networks are deleted.
const prunedSuffix = ".pruned"

// FinishPruning deletes the networks of the states that prune has renamed, then these.
func (e *Experiment) FinishPruning(nets []string) error {
	entries, err := os.ReadDir(e.states)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		iter, pruned := strings.CutSuffix(entry.Name(), ".state"+prunedSuffix)
		if !pruned {
			continue
		}
		var paths []string
		for _, net := range nets {
			paths = append(paths, e.modelPath(net, iter))
		}
		for _, path := range append(paths, filepath.Join(e.states, entry.Name())) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot delete an old checkpoint: %w", err)
			}
		}
	}
	return nil
}

// StatePath is where the state of an iteration goes.
func (e *Experiment) StatePath(iter int) string { return filepath.Join(e.states, stateName(iter)) }

func stateName(iter int) string { return fmt.Sprintf("%d.state", iter) }

// stateIters lists the iterations of the states in a folder, in ascending order.
func stateIters(folder string) ([]int, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []int
	for _, e := range entries {
		var iter int
		if _, err := fmt.Sscanf(e.Name(), "%d.state", &iter); err == nil && e.Name() == stateName(iter) {
			out = append(out, iter)
		}
	}
	slices.Sort(out)
	return out, err
}

// Owns says whether a file, which need not be there, belongs in an experiment's folder or one of its subfolders.
func Owns(root, name, file string) bool {
	resolve := func(path string) string {
		path, err := filepath.Abs(path)
		if err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
		if err != nil {
			return ""
		}
		return path
	}
	folder, dir := resolve(folderOf(root, name)), resolve(filepath.Dir(file))
	rel, err := filepath.Rel(folder, dir)
	return folder != "" && dir != "" && err == nil && filepath.IsLocal(rel)
}
