package prepare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"hidiff/hidiff/photo"
	"hidiff/internal/atomicfile"
	"hidiff/internal/folder"
	"hidiff/internal/lock"
	"hidiff/internal/textfile"
)

// Run cuts the crops that are not there yet, and looks afterwards whether all that should be there are, and
// no others. Photos that turn out to be damaged are added to p.Problems, and nothing is cut from their
// pairs. Whenever Run ends, every file is whole or not there; another Run goes on.
func (p *Work) Run(ctx context.Context) error {
	if len(p.Problems) > 0 {
		return errors.New("work with problems cannot be carried out")
	}
	crops := filepath.Dir(p.record())
	if err := os.MkdirAll(crops, 0o777); err != nil {
		return fmt.Errorf("%s: the folder cannot be made: %w", crops, err)
	}
	alone, err := lock.Acquire(filepath.Join(crops, ".lock"))
	if held := new(lock.HeldError); errors.As(err, &held) {
		err = fmt.Errorf("%s is %w: wait for that to end, or give another folder", crops, held)
	}
	if err != nil {
		return err
	}
	defer alone.Release()
	if err := p.writeRecord(); err != nil {
		return err
	}
	for _, s := range p.Splits {
		if err := p.run(ctx, s); err != nil {
			return err
		}
	}
	if len(p.Problems) > 0 {
		return nil
	}
	for _, s := range p.Splits {
		for _, dir := range s.folders() {
			there, foreign, err := s.compare(dir)
			if err != nil {
				return err
			}
			if there != s.Crops || len(foreign) > 0 {
				return fmt.Errorf("%s holds %d of %d crops, and %d other photos: something changes this folder; stop it, and prepare again", dir, there, s.Crops, len(foreign))
			}
		}
	}
	return nil
}

// run cuts one split.
func (p *Work) run(ctx context.Context, s *Split) error {
	for _, dir := range s.folders() {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return fmt.Errorf("%s: the folder cannot be made: %w", dir, err)
		}
	}
	var report func(done, total int)
	if p.o.Progress != nil {
		report = func(done, total int) { p.o.Progress("cutting "+s.Name, done, total) }
	}
	done := counter(len(s.tasks), report)
	var mu sync.Mutex
	return parallel(ctx, len(s.tasks), p.o.Workers, func(i int) error {
		written, problems, err := s.cut(ctx, s.tasks[i])
		mu.Lock()
		s.Written += written
		if err == nil && problems == nil {
			s.Kept += len(s.tasks[i].crops) - written
		}
		p.Problems = append(p.Problems, problems...)
		mu.Unlock()
		if err == nil {
			done()
		}
		return err
	})
}

// cut writes the crops of one pair that are not there, and returns how many.
func (s *Split) cut(ctx context.Context, t task) (written int, problems []Problem, err error) {
	sources, dirs := [2]string{t.input, t.target}, s.folders()
	var photos [2]*photo.Photo
	missing := make([][2]bool, len(t.crops))
	for side, source := range sources {
		changed, err := os.Stat(source)
		if err != nil {
			return 0, nil, err
		}
		needed := false
		for i, c := range t.crops {
			missing[i][side] = !isCrop(filepath.Join(dirs[side], c.file), s.size, t.info, changed.ModTime())
			needed = needed || missing[i][side]
		}
		if !needed {
			continue
		}
		if photos[side], err = openAs(source, t.info); err != nil {
			problems = append(problems, Problem{Unreadable, []string{source}, err.Error()})
		}
	}
	if problems != nil {
		return 0, problems, nil
	}
	for i, c := range t.crops {
		if err := ctx.Err(); err != nil {
			return written, nil, err
		}
		for side, absent := range missing[i] {
			if !absent {
				continue
			}
			file := filepath.Join(dirs[side], c.file)
			if err := photo.Save(file, photos[side].Crop(c.at.X, c.at.Y, s.size, s.size), photo.EncodeOptions{Format: photo.PNG}); err != nil {
				return written, nil, err
			}
		}
		if missing[i] != [2]bool{} {
			written++
		}
	}
	return written, nil, nil
}

// openAs opens a photo and makes sure that it is what its header promised.
func openAs(path string, want photo.Info) (*photo.Photo, error) {
	p, err := photo.Open(path)
	if err != nil {
		return nil, err
	}
	got := infoOf(p)
	if got.Width != want.Width || got.Height != want.Height || got.Channels != want.Channels || got.Depth != want.Depth {
		return nil, fmt.Errorf("%s is %s, %d bits, %s, and not %s, %d bits, %s as its first bytes say",
			path, dimensions(got), got.Depth, colour(got), dimensions(want), want.Depth, colour(want))
	}
	return p, nil
}

// folders are where the crops go: those of inputs, and those of targets.
func (s *Split) folders() [2]string {
	return [2]string{filepath.Join(s.Output, inputCrops), filepath.Join(s.Output, targetCrops)}
}

// compare counts the crops that a folder holds, and finds photos in it that are none.
func (s *Split) compare(dir string) (there int, foreign []string, err error) {
	if !exists(dir) {
		return 0, nil, nil
	}
	crops := map[string]bool{}
	for _, t := range s.tasks {
		for _, c := range t.crops {
			crops[c.file] = true
		}
	}
	files, err := read(dir, folder.Kinds{})
	for _, file := range files {
		if crops[file] {
			there++
		} else {
			foreign = append(foreign, filepath.Join(dir, filepath.FromSlash(file)))
		}
	}
	return there, foreign, err
}

// checkOutput looks whether the crops that are there already are of these photos, and cut in the same
// way: what else lies among them would be trained on.
func (p *Work) checkOutput() error {
	empty := true
	var problems []Problem
	for _, s := range p.Splits {
		for _, dir := range s.folders() {
			there, foreign, err := s.compare(dir)
			if err != nil {
				return err
			}
			empty = empty && there+len(foreign) == 0
			for _, file := range foreign {
				problems = append(problems, Problem{Foreign, []string{file}, file})
			}
		}
	}
	if empty {
		return nil
	}
	cutting, err := p.readRecord()
	if err != nil {
		return err
	}
	if cutting != p.o.Cutting {
		return fmt.Errorf("%s has crops of %d at stride %d, and of %d for validation: remove them, or let the new ones go into another folder",
			filepath.Join(p.o.Output, "crop"), cutting.Crop, cutting.Stride, cutting.Val)
	}
	if len(p.Problems) == 0 { // else it is not known which crops there should be
		p.Problems = append(p.Problems, problems...)
	}
	return nil
}

// record is the file that says how crops were cut. There is none where they are cut as released.
func (p *Work) record() string { return filepath.Join(p.o.Output, "crop", "prepare.json") }

func (p *Work) readRecord() (c Cutting, err error) {
	data, err := textfile.Read(p.record())
	if os.IsNotExist(err) {
		return Released, nil
	}
	if err == nil {
		if err = json.Unmarshal(data, &c); err != nil {
			err = fmt.Errorf("%s is damaged: remove it and the crops beside it: %w", p.record(), err)
		}
	}
	return c, err
}

func (p *Work) writeRecord() error {
	if p.o.Cutting == Released {
		if err := os.Remove(p.record()); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(p.o.Cutting)
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(p.record(), append(data, '\n'))
}
