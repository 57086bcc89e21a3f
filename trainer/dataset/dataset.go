// Package dataset reads pairs of photos, blurry and sharp, from folders or LMDBs, and draws random batches of them as
// BasicSR does: crops, flips and turns, progressive learning.
package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"hidiff/hidiff/photo"
	"hidiff/internal/folder"
)

// Options say where pairs of photos are. Keys in comments are BasicSR's.
//
// A root is a folder, searched with its subfolders, or an LMDB as BasicSR makes them (with build tag
// lmdb). Photos are paired by their path below the root without extension.
type Options struct {
	DatarootLQ   string // dataroot_lq: blurry photos
	DatarootGT   string // dataroot_gt: sharp photos
	FilenameTmpl string // filename_tmpl: a blurry photo's name, {} being the sharp one's; "" means {}
	MetaInfoFile string // meta_info_file: use only the sharp photos that the lines of this file begin with, in its order
	GTSize       int    // gt_size: the crops to train on, which the photos must not be smaller than; 0: whole photos
	SkipBad      bool   // on_bad_image: where batches are drawn, pass over photos that cannot be read, and draw others

	LQName, GTName string // what errors call the roots; "" means dataroot_lq and dataroot_gt
}

// Dataset is a list of pairs of photos. Photos are read when asked for and not kept. Any number of
// goroutines may use it, until Close.
type Dataset struct {
	o      Options
	lq, gt source
	pairs  []pair
	passed folder.Kinds

	unmanaged []string // files whose colours are off, as [photo.Info] says
}

// Pair is a blurry photo and its sharp partner, of one size.
type Pair struct {
	Name   string // the sharp photo's path below its root, without extension
	LQ, GT *photo.Photo
}

// Open finds and pairs the photos and reads the headers of all. Photos without a partner, pairs
// of two sizes or smaller than GTSize, and (unless such are skipped) damaged headers are errors.
func Open(ctx context.Context, o Options) (*Dataset, error) {
	o.FilenameTmpl = cmp.Or(o.FilenameTmpl, "{}")
	if strings.Count(o.FilenameTmpl, "{}") != 1 {
		return nil, fmt.Errorf("filename_tmpl %q must contain {} once, as in {}_blur", o.FilenameTmpl)
	}
	o.LQName, o.GTName = cmp.Or(o.LQName, "dataroot_lq"), cmp.Or(o.GTName, "dataroot_gt")
	d := &Dataset{o: o, passed: folder.Kinds{}}
	err := d.open()
	if err == nil {
		err = d.check(ctx)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// open finds the pairs.
func (d *Dataset) open() error {
	list := func(key, root string, s *source) (names map[string]string, err error) {
		if root == "" {
			return nil, fmt.Errorf("%s is missing: give the folder with the photos", key)
		}
		var passed folder.Kinds
		if *s, err = openSource(root); err == nil {
			names, passed, err = (*s).list()
		}
		d.passed.Add(passed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return names, nil
	}
	lq, err := list(d.o.LQName, d.o.DatarootLQ, &d.lq)
	if err != nil {
		return err
	}
	gt, err := list(d.o.GTName, d.o.DatarootGT, &d.gt)
	if err != nil {
		return err
	}
	var listed []string
	if d.o.MetaInfoFile != "" {
		if listed, err = readMetaInfo(d.o.MetaInfoFile); err != nil {
			return fmt.Errorf("meta_info_file: %w", err)
		}
	}
	d.pairs, err = matchPairs(d.o, lq, gt, listed)
	if err != nil && len(d.passed) > 0 {
		err = fmt.Errorf("%w\npassed over: %s", err, d.passed)
	}
	return err
}

// Close closes databases, so no photo may be being read any more. Folders need no closing.
func (d *Dataset) Close() error {
	var errs []error
	for _, s := range []source{d.lq, d.gt} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// Len returns the number of pairs.
func (d *Dataset) Len() int { return len(d.pairs) }

// PassedOver counts, by extension, the files in both folders that look like pictures of formats that are not read.
func (d *Dataset) PassedOver() map[string]int { return d.passed }

// Unmanaged are the files of photos whose colours are off, as [photo.Info] says.
func (d *Dataset) Unmanaged() []string { return d.unmanaged }

// Name returns the name of pair i, as in [Pair].
func (d *Dataset) Name(i int) string { return d.pairs[i].name }

// LQFile returns the path of pair i's blurry photo below its root, with slashes; in an LMDB its key.
func (d *Dataset) LQFile(i int) string { return d.pairs[i].lq }

// Pair reads pair i. Errors name the file.
func (d *Dataset) Pair(i int) (Pair, error) { return d.read(i, &encoded{}) }

// encoded is memory for the files of a pair.
type encoded struct{ lq, gt []byte }

// badImage is an error about a file's content.
type badImage struct {
	path string
	err  error // names the path
}

func (e *badImage) Error() string { return e.err.Error() }
func (e *badImage) Unwrap() error { return e.err }

// read is Pair, using memory that may be used again. All its errors are of type *badImage.
func (d *Dataset) read(i int, m *encoded) (Pair, error) {
	decode := func(s source, file string, buf *[]byte) (*photo.Photo, error) {
		data, err := s.read(file, (*buf)[:0], wholeFile)
		*buf = data
		var p *photo.Photo
		if err == nil {
			p, err = photo.Decode(data, s.path(file))
		}
		if err != nil {
			return nil, &badImage{s.path(file), err}
		}
		return p, nil
	}
	p := d.pairs[i]
	lq, err := decode(d.lq, p.lq, &m.lq)
	if err != nil {
		return Pair{}, err
	}
	gt, err := decode(d.gt, p.gt, &m.gt)
	if err != nil {
		return Pair{}, err
	}
	// The headers have been checked, but files may have changed since.
	if err := d.fits(p, lq.Width, lq.Height, gt.Width, gt.Height); err != nil {
		return Pair{}, &badImage{d.lq.path(p.lq), err}
	}
	return Pair{p.name, lq, gt}, nil
}

// fits checks the sizes of a pair's photos.
func (d *Dataset) fits(p pair, lqWidth, lqHeight, gtWidth, gtHeight int) error {
	lq, gt := d.lq.path(p.lq), d.gt.path(p.gt)
	if lqWidth != gtWidth || lqHeight != gtHeight {
		return fmt.Errorf("%s is %d×%d pixels, but its partner %s is %d×%d", lq, lqWidth, lqHeight, gt, gtWidth, gtHeight)
	}
	if min(gtWidth, gtHeight) < d.o.GTSize {
		return fmt.Errorf("%s and %s are %d×%d pixels, smaller than gt_size %d", lq, gt, gtWidth, gtHeight, d.o.GTSize)
	}
	return nil
}

// headerBytes is how much of a file is read for its header, at first: a page.
const headerBytes = 4096

// check checks the headers of all photos, several at a time.
func (d *Dataset) check(ctx context.Context) error {
	const readers = 16 // they mostly wait for the disk
	var next atomic.Int64
	problems := make([]error, len(d.pairs))
	unmanaged := make([][]string, len(d.pairs))
	var wg sync.WaitGroup
	for range min(readers, len(d.pairs)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(d.pairs)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				// A prefix of a file may lack its header, the EXIF orientation that turns it, or a part of its
				// profile: what looks wrong gets a second, full look.
				unmanaged[i], problems[i] = d.header(d.pairs[i], headerBytes)
				if unmanaged[i] != nil || problems[i] != nil {
					unmanaged[i], problems[i] = d.header(d.pairs[i], wholeFile)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.unmanaged = slices.Concat(unmanaged...)
	var lines []string
	unreadable := 0
	for _, err := range problems {
		if bad := new(badImage); errors.As(err, &bad) {
			unreadable++
		}
		if err != nil {
			lines = append(lines, err.Error())
		}
	}
	if len(lines) == 0 {
		return nil
	}
	if d.o.SkipBad && unreadable == len(lines) && unreadable < len(d.pairs) {
		return nil // they are found again, and skipped, when drawn
	}
	remedy := "repair, replace or remove them"
	if d.o.GTSize > 0 {
		remedy += ", or lower gt_size where they are too small"
	}
	return fmt.Errorf("%d of %d pairs of photos cannot be used: %s\n%s", len(lines), len(d.pairs), remedy, firstTen(lines, "\n"))
}

// header checks the sizes of a pair from the first bytes of its files, and names those whose colours are off. Files
// that cannot be read are errors of type *badImage.
func (d *Dataset) header(p pair, limit int64) (unmanaged []string, err error) {
	probe := func(s source, file string) (photo.Info, error) {
		data, err := s.read(file, nil, limit)
		var info photo.Info
		if err == nil {
			info, err = photo.Probe(data, s.path(file))
		}
		if err != nil {
			return info, &badImage{s.path(file), err}
		}
		if info.Unmanaged {
			unmanaged = append(unmanaged, s.path(file))
		}
		return info, nil
	}
	lq, err := probe(d.lq, p.lq)
	if err != nil {
		return nil, err
	}
	gt, err := probe(d.gt, p.gt)
	if err != nil {
		return nil, err
	}
	return unmanaged, d.fits(p, lq.Width, lq.Height, gt.Width, gt.Height)
}
