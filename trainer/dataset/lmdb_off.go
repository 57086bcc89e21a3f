//go:build !lmdb

package dataset

import "fmt"

func openLMDB(root string) (source, error) {
	return nil, fmt.Errorf("%s is an LMDB, which this build cannot read: build with -tags lmdb (go build -tags lmdb ./cli/hidiff), or give folders of photos", root)
}
