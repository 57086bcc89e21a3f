//go:build !lmdb

package dataset

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLMDBNeedsItsBuildTag(t *testing.T) {
	o := writePairs(t, 1, 2, 2)
	root := filepath.Join(t.TempDir(), "gt.lmdb")
	require.NoError(t, os.Mkdir(root, 0o755))
	requireErrors(t, Options{DatarootLQ: o.DatarootLQ, DatarootGT: root}, "dataroot_gt", root, "-tags lmdb")
	// A folder with the file of a database is one by any name.
	require.NoError(t, os.WriteFile(filepath.Join(o.DatarootLQ, "data.mdb"), nil, 0o644))
	requireErrors(t, o, "dataroot_lq", "-tags lmdb")
}
