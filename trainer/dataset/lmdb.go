//go:build lmdb

package dataset

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/PowerDNS/lmdb-go/lmdb"

	"hidiff/internal/folder"
	"hidiff/internal/textfile"
)

// lmdbSource is an LMDB as BasicSR's scripts make them: data.mdb maps keys to encoded photos, and
// meta_info.txt has a line "key.png (h,w,c) compression" for each.
type lmdbSource struct {
	root string
	env  *lmdb.Env
	db   lmdb.DBI
}

func openLMDB(root string) (source, error) {
	unusable := func(err error) error {
		return fmt.Errorf("the LMDB %s cannot be opened (%w): copy or make it again", root, err)
	}
	if err := checkLMDB(filepath.Join(root, "data.mdb")); err != nil {
		return nil, unusable(err)
	}
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	s := &lmdbSource{root: root, env: env}
	// Nobody writes while we read: without locks, a dataset may lie on a read-only disk.
	err = env.Open(root, lmdb.Readonly|lmdb.NoLock|lmdb.NoReadahead, 0o644)
	if err == nil {
		err = env.View(func(txn *lmdb.Txn) (err error) {
			s.db, err = txn.OpenRoot(0)
			return err
		})
	}
	if err != nil {
		env.Close()
		return nil, unusable(err)
	}
	return s, nil
}

func (s *lmdbSource) path(key string) string { return s.root + ":" + key }

func (s *lmdbSource) Close() error { return s.env.Close() }

func (s *lmdbSource) list() (map[string]string, folder.Kinds, error) {
	file := filepath.Join(s.root, "meta_info.txt")
	data, err := textfile.Read(file)
	if err != nil {
		return nil, nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndex(line, " ("); i >= 0 { // a key may have spaces
			line = line[:i]
		}
		if key, _ := photoName(line); key != "" {
			found[key] = key
		}
	}
	if len(found) == 0 {
		return nil, nil, fmt.Errorf("%s lists no photo", file)
	}
	return found, nil, nil
}

func (s *lmdbSource) read(key string, buf []byte, limit int64) ([]byte, error) {
	err := s.env.View(func(txn *lmdb.Txn) error {
		txn.RawRead = true // a view of the file, copied below
		value, err := txn.Get(s.db, []byte(key))
		buf = append(buf, value[:min(int64(len(value)), limit)]...)
		return err
	})
	if lmdb.IsNotFound(err) {
		return nil, fmt.Errorf("%s: listed in meta_info.txt but not in the database; make the LMDB again", s.path(key))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(key), err)
	}
	return buf, nil
}
