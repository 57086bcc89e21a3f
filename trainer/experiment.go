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
	"time"

	"hidiff/internal/atomicfile"
	"hidiff/internal/lock"
)

// experiment is the folder of a training, laid out as BasicSR's:
//
//	experiments/<name>/models           net_g_<iter>.pth, net_g_latest.pth
//	experiments/<name>/training_states  <iter>.state
//	experiments/<name>/visualization
//	experiments/<name>/train_<name>_<time>.log
//	tb_logger/<name>
type experiment struct {
	name          string
	dir           string // experiments/<name>
	models        string
	states        string
	visualization string
	tensorboard   string // tb_logger/<name>; made when first written to
	log           string
}

// startMode says what may happen to an experiment that has checkpoints.
type startMode int

const (
	startFresh  startMode = iota // nothing: it is an error
	startResume                  // go on in it
	startAnew                    // put it aside (--restart)
)

func experimentFolder(root, name string) string { return filepath.Join(root, "experiments", name) }

// timeInNames is BasicSR's.
const timeInNames = "20060102_150405"

func checkName(name string) error {
	if !filepath.IsLocal(name) || name != filepath.Base(name) || name == "." {
		return fmt.Errorf("name: %q cannot be the name of a folder: choose a plain word such as train_GoPro_S1", name)
	}
	return nil
}

// lockExperiment keeps other runs out of an experiment. The file lies beside its folder, which may be put aside.
func lockExperiment(root, name string) (*lock.Lock, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	dir := experimentFolder(root, name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return nil, err
	}
	l, err := lock.Acquire(filepath.Join(filepath.Dir(dir), "."+name+".lock"))
	if held := new(lock.HeldError); errors.As(err, &held) {
		err = fmt.Errorf("%s is %w: wait for that to end, or give another name", dir, held)
	}
	return l, err
}

// placeExperiment says where an experiment below root lies.
func placeExperiment(root, name string, now time.Time) (*experiment, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	stamp := now.Format(timeInNames)
	dir := experimentFolder(root, name)
	return &experiment{
		name:          name,
		dir:           dir,
		models:        filepath.Join(dir, "models"),
		states:        filepath.Join(dir, "training_states"),
		visualization: filepath.Join(dir, "visualization"),
		tensorboard:   filepath.Join(root, "tb_logger", name),
		log:           filepath.Join(dir, fmt.Sprintf("train_%s_%s.log", name, stamp)),
	}, nil
}

// CheckOutputs finds out, without a device, whether the experiment's files can be written. It leaves nothing behind.
func (o RunOptions) CheckOutputs() error {
	e, err := placeExperiment(o.Root, o.Name, time.Now())
	if err != nil {
		return err
	}
	files := []string{e.log, e.modelPath("net_g", "latest"), e.statePath(0), filepath.Join(e.visualization, "any")}
	if o.Logger.UseTBLogger {
		files = append(files, filepath.Join(e.tensorboard, "any"))
	}
	var outputs atomicfile.Checker
	for _, file := range files {
		if err := outputs.Check(file); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	return nil
}

// openExperiment makes the folders of an experiment below root, or finds them. Only
// startAnew moves what is there.
func openExperiment(root, name string, mode startMode, now time.Time) (*experiment, error) {
	e, err := placeExperiment(root, name, now)
	if err != nil {
		return nil, err
	}
	stamp := now.Format(timeInNames)
	switch found, err := e.holds(); {
	case err != nil:
		return nil, err
	case mode == startFresh && found != "":
		return nil, fmt.Errorf("%s has %s: --auto_resume goes on from there; --restart starts anew and keeps the folder as %s_archived_<time>",
			e.dir, found, name)
	}
	if mode == startAnew {
		for _, folder := range []string{e.dir, e.tensorboard} {
			if err := archive(folder, folder+"_archived_"+stamp); err != nil {
				return nil, fmt.Errorf("cannot put the old experiment aside: %w", err)
			}
		}
	}
	if mode == startResume {
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
func (e *experiment) finishSaving() error {
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
		if err := append(s, e.statePath(iter)).commit(); err != nil {
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
func (e *experiment) holds() (string, error) {
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

// latest returns the path of the state of the highest iteration, or "" if there is none.
func (e *experiment) latest() (string, error) {
	iters, err := stateIters(e.states)
	if err != nil || len(iters) == 0 {
		return "", err
	}
	return e.statePath(iters[len(iters)-1]), nil
}

func (e *experiment) modelPath(net, iter string) string {
	return filepath.Join(e.models, fmt.Sprintf("%s_%s.pth", net, iter))
}

// picturePath is where a photo of this name, restored in validation, goes.
func (e *experiment) picturePath(name string, iter int) string {
	name = filepath.FromSlash(name)
	return filepath.Join(e.visualization, name, fmt.Sprintf("%s_%d.png", filepath.Base(name), iter))
}

// save writes c's networks and then its state, and returns the state's path. All of it is
// on disk before the first file takes its name, and the state takes its name last: where
// there is a state, its networks are complete. If a write fails, as on a full disk, all is as
// it was before.
func (e *experiment) save(c *Checkpoint) (string, error) {
	iter := strconv.Itoa(c.Iter)
	path := e.statePath(c.Iter)
	err := e.write(c, iter, path)
	if err != nil {
		return "", saveFailed("iteration "+iter, err)
	}
	return path, nil
}

// saveState puts c's state in the place of the one that save wrote, whose networks stay: at any
// time one of the two is there.
func (e *experiment) saveState(c *Checkpoint) error {
	var s staged
	defer func() { s.discard() }()
	err := s.add(e.statePath(c.Iter), c.state())
	if err == nil {
		err = s.commit()
	}
	if err != nil {
		return fmt.Errorf("the validation of iteration %d cannot be noted in its checkpoint, which is as it was: %w", c.Iter, err)
	}
	return nil
}

// saveLatest writes c's networks as net_*_latest.pth, at the end of a training.
func (e *experiment) saveLatest(c *Checkpoint) error {
	if err := e.write(c, "latest", ""); err != nil {
		return saveFailed("the final networks", err)
	}
	return nil
}

// write saves the networks and, unless the path is empty, the state.
func (e *experiment) write(c *Checkpoint, iter, statePath string) error {
	var s staged
	defer func() { s.discard() }()
	for _, net := range networksOf(c.Params) {
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

// prune deletes checkpoints before iteration iter, so that with it the newest keep remain;
// those of the protected iterations stay and do not count. Later ones, from which an older state
// was resumed, stay too. With keep 0 all stay. What it was killed in the middle of, [experiment.finishPruning] ends.
func (e *experiment) prune(iter, keep int, nets []string, protected ...int) error {
	iters, err := stateIters(e.states)
	if err != nil || keep <= 0 {
		return err
	}
	iters = slices.DeleteFunc(iters, func(i int) bool { return i >= iter || slices.Contains(protected, i) })
	for _, old := range iters[:max(0, len(iters)-(keep-1))] {
		// A state promises that its networks are there; under this name it promises that they go.
		if err := os.Rename(e.statePath(old), e.statePath(old)+prunedSuffix); err != nil {
			return fmt.Errorf("cannot delete an old checkpoint: %w", err)
		}
	}
	return e.finishPruning(nets)
}

// prunedSuffix is put after the names of states while their networks are deleted.
const prunedSuffix = ".pruned"

// finishPruning deletes the networks of the states that prune has renamed, then these.
func (e *experiment) finishPruning(nets []string) error {
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

func (e *experiment) statePath(iter int) string { return filepath.Join(e.states, stateName(iter)) }

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

// isBelow says whether a file, which need not be there, belongs in a folder or one of its subfolders.
func isBelow(folder, file string) bool {
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
	folder, dir := resolve(folder), resolve(filepath.Dir(file))
	rel, err := filepath.Rel(folder, dir)
	return folder != "" && dir != "" && err == nil && filepath.IsLocal(rel)
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}
