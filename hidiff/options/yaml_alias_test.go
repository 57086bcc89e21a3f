package options

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aliased says the same as plain, with anchors, aliases and merge keys.
const aliased = `
common: &common {type: PairedImageIRDataset, io_backend: {type: disk}}
sizes: &sizes [64, 64]
lr: &lr 0.002
name: &name x
model_type: HI_Diff_S1
datasets:
  train: &train
    <<: *common
    name: *name
    dataroot_lq: lq
    dataroot_gt: gt
    gt_size: 64
    gt_sizes: *sizes
    iters: [10, 10]
    mini_batch_sizes: [1, 1]
    batch_size_per_gpu: 1
  val:
    <<: [{name: Val, dataroot_lq: vlq}, *common, *train]
    dataroot_gt: vgt
    gt_size: null
    gt_sizes: null
    iters: null
    mini_batch_sizes: null
    batch_size_per_gpu: null
network_g: &g {type: Transformer, dim: 8, heads: [1, 1, 1, 1]}
network_le: {<<: *g, type: latent_encoder_gelu}
train:
  total_iter: 20
  optim_total: {type: AdamW, lr: *lr}
  pixel_opt: &pixel {type: L1Loss}
  pixel_diff_opt: *pixel
`

const plain = `
name: x
model_type: HI_Diff_S1
datasets:
  train: {type: PairedImageIRDataset, io_backend: {type: disk}, name: x, dataroot_lq: lq, dataroot_gt: gt, gt_size: 64,
    gt_sizes: [64, 64], iters: [10, 10], mini_batch_sizes: [1, 1], batch_size_per_gpu: 1}
  val: {type: PairedImageIRDataset, io_backend: {type: disk}, name: Val, dataroot_lq: vlq, dataroot_gt: vgt}
network_g: {type: Transformer, dim: 8, heads: [1, 1, 1, 1]}
network_le: {type: latent_encoder_gelu, dim: 8, heads: [1, 1, 1, 1]}
train:
  total_iter: 20
  optim_total: {type: AdamW, lr: 0.002}
  pixel_opt: {type: L1Loss}
  pixel_diff_opt: {type: L1Loss}
`

func TestAliases(t *testing.T) {
	got, err := Parse("x.yml", []byte(aliased), set("val:suffix=a"))
	require.NoError(t, err)
	want, err := Parse("x.yml", []byte(plain), set("val:suffix=a"))
	require.NoError(t, err)
	written, err := got.YAML()
	require.NoError(t, err)
	expected, err := want.YAML()
	require.NoError(t, err)
	require.Equal(t, sortedLines(string(expected)), sortedLines(string(written)))

	// A change of a copy does not change what it was copied from, nor other copies.
	got, err = Parse("x.yml", []byte(aliased), set("datasets:val:io_backend:type=lmdb", "datasets:train:name=y"))
	require.NoError(t, err)
	require.Equal(t, []string{"disk", "lmdb"}, []string{got.Datasets[0].IOBackend.Type, got.Datasets[1].IOBackend.Type})
	require.Equal(t, []string{"x", "y", "Val"}, []string{got.Name, got.Datasets[0].Name, got.Datasets[1].Name})
}

// sortedLines make the order of keys of networks, which differs, no matter.
func sortedLines(text string) []string {
	lines := map[string]string{}
	for line := range strings.Lines(text) {
		lines[line] = line
	}
	return slices.Sorted(maps.Keys(lines))
}

// A short file whose aliases unfold to a huge one, or for ever.
func TestAliasBombs(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 12 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), ", "))
	}
	merges := "m0: &m0 {x: 1}\n"
	for i := range 40 {
		merges += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d], k%d: {<<: *m%d}}\n", i+1, i+1, i, i, i, i)
	}
	many := "a: &a [" + strings.Repeat("x, ", 3000) + "x]\nb: [" + strings.Repeat("*a, ", 100_000) + "*a]\n"
	for _, bomb := range []string{laughs, merges, many} {
		start := time.Now()
		_, err := Parse("x.yml", []byte(bomb), nil)
		require.ErrorContains(t, err, "unfold to more than 100000 values")
		require.Equal(t, 1, strings.Count(err.Error(), "unfold"))
		require.Less(t, time.Since(start), 20*time.Second)
	}
}
