//go:build lmdb

package dataset

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/stretchr/testify/require"
)

// writeLMDB packs the photos of a folder as BasicSR does, under keys ending in suffix, and returns the database's folder.
func writeLMDB(t *testing.T, dir, suffix string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), filepath.Base(dir)+".lmdb")
	require.NoError(t, os.Mkdir(root, 0o755))
	files, err := filepath.Glob(filepath.Join(dir, "*.png"))
	require.NoError(t, err)
	env, err := lmdb.NewEnv()
	require.NoError(t, err)
	require.NoError(t, env.SetMapSize(1<<24))
	require.NoError(t, env.Open(root, 0, 0o644))
	var meta strings.Builder
	require.NoError(t, env.Update(func(txn *lmdb.Txn) error {
		db, err := txn.OpenRoot(0)
		for _, file := range files {
			if err != nil {
				return err
			}
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			key := strings.TrimSuffix(filepath.Base(file), ".png") + suffix
			fmt.Fprintf(&meta, "%s.png (17,18,3) 1\n", key)
			if err := txn.Put(db, []byte(key), data, 0); err != nil {
				return err
			}
		}
		return err
	}))
	require.NoError(t, env.Close())
	require.NoError(t, os.WriteFile(filepath.Join(root, "meta_info.txt"), []byte(meta.String()), 0o644))
	return root
}

func TestLMDBGivesWhatFoldersGive(t *testing.T) {
	o := writePairs(t, 11, 18, 17)
	o.GTSize = 16
	options := LoaderOptions{Seed: 4, BatchSize: 5, GeometricAugs: true, Workers: 3}
	want := drawBatches(t, startLoader(t, openDataset(t, o), options), 8)

	packed := o
	packed.DatarootLQ, packed.DatarootGT = writeLMDB(t, o.DatarootLQ, ""), writeLMDB(t, o.DatarootGT, "")
	for _, root := range []string{packed.DatarootLQ, packed.DatarootGT} {
		require.NoError(t, os.Remove(filepath.Join(root, "lock.mdb")), "not needed to read")
		require.NoError(t, os.Chmod(filepath.Join(root, "data.mdb"), 0o444))
	}
	d := openDataset(t, packed)
	require.Equal(t, "photo10", d.Name(10))
	require.Equal(t, want, drawBatches(t, startLoader(t, d, options), 8))
	require.NoFileExists(t, filepath.Join(packed.DatarootLQ, "lock.mdb"))
}

func TestLMDBBesideAFolder(t *testing.T) {
	o := writePairs(t, 3, 4, 4)
	o.DatarootLQ, o.FilenameTmpl = writeLMDB(t, o.DatarootLQ, " v1.5"), "{} v1.5"
	d := openDataset(t, o)
	require.Equal(t, "photo2 v1.5", d.LQFile(2), "its key")
	p, err := d.Pair(2)
	require.NoError(t, err)
	require.Equal(t, coordinates(4, 4, 4).Pix, p.LQ.Pix)
	require.Equal(t, coordinates(4, 4, 5).Pix, p.GT.Pix)
}

func TestLMDBErrors(t *testing.T) {
	o := writePairs(t, 3, 4, 4)
	o.DatarootGT = writeLMDB(t, o.DatarootGT, "")
	meta := filepath.Join(o.DatarootGT, "meta_info.txt")
	lines, err := os.ReadFile(meta)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(meta, append(lines, "photo3.png (4,4,3) 1\n"...), 0o644))
	requireErrors(t, o, "lacks 1 of 4 photos", "photo3")
	savePhoto(t, coordinates(4, 4, 0), o.DatarootLQ, "photo3.png")
	requireErrors(t, o, "1 of 4 pairs", o.DatarootGT+":photo3", "not in the database")
	o.SkipBad = true
	require.Equal(t, 4, openDataset(t, o).Len())

	require.NoError(t, os.WriteFile(meta, nil, 0o644))
	requireErrors(t, o, meta+" lists no photo")
	require.NoError(t, os.Remove(meta))
	requireErrors(t, o, "dataroot_gt", meta)
	require.NoError(t, os.WriteFile(filepath.Join(o.DatarootGT, "data.mdb"), []byte("no database"), 0o644))
	requireErrors(t, o, "dataroot_gt", o.DatarootGT, "cannot be opened")
	require.NoError(t, os.Remove(filepath.Join(o.DatarootGT, "data.mdb")))
	requireErrors(t, o, "dataroot_gt", o.DatarootGT, "cannot be opened")
}

// A database that is cut off anywhere is an error, and never a SIGBUS; likewise what is damaged, or none.
func TestLMDBCutOff(t *testing.T) {
	o := writePairs(t, 60, 40, 40)
	o.DatarootGT = writeLMDB(t, o.DatarootGT, "")
	file := filepath.Join(o.DatarootGT, "data.mdb")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.Remove(file)) // LMDB may have it mapped
	const page = 4096
	patched := func(at int, with byte) []byte {
		data := slices.Clone(whole)
		data[at] ^= with
		return data
	}
	both := patched(16, 1)
	both[page+16] ^= 1
	older := make([]byte, len(whole)) // the meta pages the other way round: which of them counts, transactions say
	copy(older, whole)
	copy(older[16:152], whole[page+16:])
	copy(older[page+16:page+152], whole[16:152])
	pages := len(whole) / page
	require.Greater(t, pages, 4)
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"last page", fmt.Sprintf("data.mdb is cut off: it has %d of %d pages", pages-1, pages), whole[:len(whole)-page]},
		{"last byte", fmt.Sprintf("data.mdb is cut off: it has %d of %d pages", pages-1, pages), whole[:len(whole)-1]},
		{"all but two pages", fmt.Sprintf("it has 2 of %d pages", pages), whole[:2*page]},
		{"older meta page", fmt.Sprintf("it has %d of %d pages", pages-1, pages), older[:len(whole)-page]},
		{"second meta page", "the second meta page of data.mdb is cut off", whole[:page+100]},
		{"both meta pages", "no LMDB, or both of its meta pages are damaged or cut off", whole[:100]},
		{"empty", "data.mdb is empty", nil},
		{"text", "no LMDB, or both of its meta pages", bytes.Repeat([]byte("text "), 5000)},
		{"first damaged", "the first meta page of data.mdb is damaged", patched(16, 1)},
		{"second damaged", "the second meta page of data.mdb is damaged", patched(page+16, 1)},
		{"both damaged", "no LMDB, or both of its meta pages", both},
		{"page size", "meta page of data.mdb is damaged", patched(41, 1)},
		{"another version", "cannot be opened", patched(20, 8)},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(file, c.data, 0o644))
			requireErrors(t, o, "dataroot_gt", o.DatarootGT, "cannot be opened", c.want, "copy or make it again")
			require.NoError(t, os.Remove(file))
		})
	}
	require.NoError(t, os.WriteFile(file, older, 0o644))
	require.Equal(t, 60, openDataset(t, o).Len())
}

// meta_info.txt as editors of Windows leave it.
func TestLMDBMetaInfoOfWindows(t *testing.T) {
	o := writePairs(t, 3, 4, 4)
	o.DatarootGT = writeLMDB(t, o.DatarootGT, "")
	meta := filepath.Join(o.DatarootGT, "meta_info.txt")
	lines, err := os.ReadFile(meta)
	require.NoError(t, err)
	for kind, text := range windowsTexts(string(lines)) {
		require.NoError(t, os.WriteFile(meta, text, 0o644))
		require.Equal(t, []string{"photo0", "photo1", "photo2"}, pairNames(openDataset(t, o)), kind)
	}
}
