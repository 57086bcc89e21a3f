package dataset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/photo"
	"hidiff/internal/streams"
)

func startLoader(t testing.TB, d *Dataset, o LoaderOptions) *Loader {
	t.Helper()
	l, err := NewLoader(context.Background(), d, o)
	require.NoError(t, err)
	t.Cleanup(l.Close)
	return l
}

func nextBatch(t testing.TB, l *Loader) *Batch {
	t.Helper()
	b, _, err := l.Next()
	require.NoError(t, err)
	return b
}

// batchContent is a batch as a value.
func batchContent(b *Batch) Batch {
	c := *b
	c.LQ, c.GT, c.loader = slices.Clone(b.LQ), slices.Clone(b.GT), nil
	return c
}

// drawBatches returns the next n batches, and poisons their memory before giving it back.
func drawBatches(t testing.TB, l *Loader, n int) (out []Batch) {
	t.Helper()
	for range n {
		b := nextBatch(t, l)
		out = append(out, batchContent(b))
		for i := range b.LQ {
			b.LQ[i], b.GT[i] = -1, -1
		}
		b.Release()
	}
	return out
}

// growing keeps 3 of 11×11, then 2 of 16×16, then asks for more than there is.
func growing(iter int) (miniBatch, size int) {
	switch {
	case iter <= 4:
		return 3, 11
	case iter <= 8:
		return 2, 16
	}
	return 100, 100
}

// level is the 16-bit sample that a value in [0, 1] was.
func level(v float32) int { return int(v*65535 + 0.5) }

func TestBatchesDependOnSeedAndIterationAlone(t *testing.T) {
	o := writePairs(t, 7, 30, 25)
	o.GTSize = 17
	d := openDataset(t, o)
	options := LoaderOptions{Seed: 9, BatchSize: 4, EnlargeRatio: 2, GeometricAugs: true, Phase: growing, Workers: 1}
	want := drawBatches(t, startLoader(t, d, options), 12)
	for i, b := range want {
		require.Equal(t, i+1, b.Iter)
		require.Equal(t, 4*i/14, b.Epoch)
	}
	for _, workers := range []int{2, 7} {
		options.Workers, options.Prefetch = workers, workers
		require.Equal(t, want, drawBatches(t, startLoader(t, d, options), 12), "%d workers", workers)
	}
	for _, done := range []int{1, 4, 9} {
		options.Start = done
		require.Equal(t, want[done:], drawBatches(t, startLoader(t, d, options), 12-done), "resumed after %d", done)
	}
	options.Start, options.Seed = 0, 10
	require.NotEqual(t, want, drawBatches(t, startLoader(t, d, options), 12))
}

// With photos of gt_size, the pixels tell everything: pair, mode and window.
func TestProgressiveLearning(t *testing.T) {
	const side, batchSize = 17, 5
	o := writePairs(t, 10, side, side)
	o.GTSize = side
	l := startLoader(t, openDataset(t, o), LoaderOptions{Seed: 1, BatchSize: batchSize, GeometricAugs: true, Phase: growing})
	epoch, seen := map[int]bool{}, map[int]bool{}
	windows, kept := map[[2]int]bool{}, 0
	for range 200 {
		b := nextBatch(t, l)
		wantN, wantSize := growing(b.Iter)
		wantN, wantSize = min(wantN, batchSize), min(wantSize, side)
		require.Equal(t, [3]int{wantN, wantSize, wantSize}, [3]int{b.N, b.H, b.W})
		require.Len(t, b.LQ, wantN*wantSize*wantSize*3)
		require.Len(t, b.Names, wantN)
		require.Equal(t, (b.Iter-1)/2, b.Epoch)
		if b.Iter%2 == 1 {
			clear(epoch)
		}
		var window [2]int
		for s := range b.N {
			id, mode, top, left := decodeView(t, b, s, side)
			require.Equal(t, fmt.Sprintf("photo%d", id), b.Names[s])
			require.False(t, epoch[id], "no pair twice in an epoch")
			epoch[id], seen[mode] = true, true
			if s == 0 {
				window = [2]int{top, left}
			}
			require.Equal(t, window, [2]int{top, left}, "one window for the whole batch")
		}
		if b.Iter <= 4 {
			windows[window] = true
			kept += b.N
		}
		b.Release()
	}
	require.Len(t, seen, 8, "all modes come up")
	require.Greater(t, len(windows), 1)
	require.Equal(t, 12, kept)
}

// What is kept is what drawing everything gives, cut to one window of the batch: only cheaper.
func TestKeepingIsDrawingEverythingAndChoosing(t *testing.T) {
	const side, size, batchSize = 8, 5, 6
	o := writePairs(t, 10, 20, 11)
	o.GTSize = side
	d := openDataset(t, o)
	options := LoaderOptions{Seed: 2, BatchSize: batchSize, GeometricAugs: true}
	everything := drawBatches(t, startLoader(t, d, options), 120)
	options.Phase = func(int) (int, int) { return 2, size }
	slots, windows := map[int]bool{}, map[[2]int]bool{}
	for i, b := range drawBatches(t, startLoader(t, d, options), 120) {
		full := everything[i]
		found := 0
		for y := range side - size + 1 {
			for x := range side - size + 1 {
				var at []int // the slots that the two samples had, if this is their window
				for s := range b.N {
					for slot := range batchSize {
						if full.Names[slot] == b.Names[s] && isWindow(b.LQ, full.LQ, s, slot, y, x, size, side) && isWindow(b.GT, full.GT, s, slot, y, x, size, side) {
							at = append(at, slot)
						}
					}
				}
				if len(at) == b.N {
					found++
					slots[at[0]], slots[at[1]], windows[[2]int{y, x}] = true, true, true
				}
			}
		}
		require.Equal(t, 1, found, "iteration %d", b.Iter)
	}
	require.Len(t, slots, batchSize, "any sample may be kept")
	require.Len(t, windows, 16, "any window may come up")
}

// isWindow tells whether sample s of small is the window at (y, x) of sample slot of full.
func isWindow(small, full []float32, s, slot, y, x, size, side int) bool {
	for r := range size {
		a := small[(s*size+r)*size*3:][:size*3]
		b := full[((slot*side+y+r)*side+x)*3:][:size*3]
		if !slices.Equal(a, b) {
			return false
		}
	}
	return true
}

// coordinatesAt is what a batch of coordinates shows at a pixel of sample s.
func coordinatesAt(b *Batch, values []float32, s, r, c int) (y, x, id int) {
	v := values[((s*b.H+r)*b.W+c)*3:]
	return level(v[0]), level(v[1]), level(v[2])
}

// decodeView finds out which view of which pair sample s of a batch is. Only one fits.
func decodeView(t *testing.T, b *Batch, s, side int) (id, mode, top, left int) {
	t.Helper()
	found := 0
	_, _, first := coordinatesAt(b, b.LQ, s, 0, 0)
	for m := range augmentations {
		v := view{n: side, mode: m, size: b.H}
		for v.y = range side - b.H + 1 {
			for v.x = range side - b.W + 1 {
				if shows(b, s, first, v) {
					found, mode, top, left = found+1, m, v.y, v.x
				}
			}
		}
	}
	require.Equal(t, 1, found, "sample %d of iteration %d", s, b.Iter)
	return first / 2, mode, top, left
}

// shows tells whether sample s of a batch is this view in both photos of a pair, lq's id being id.
func shows(b *Batch, s, id int, v view) bool {
	for r := range b.H {
		for c := range b.W {
			wantY, wantX := v.source(r, c)
			y, x, i := coordinatesAt(b, b.LQ, s, r, c)
			gtY, gtX, gtI := coordinatesAt(b, b.GT, s, r, c)
			if [6]int{y, x, i, gtY, gtX, gtI} != [6]int{wantY, wantX, id, wantY, wantX, id + 1} {
				return false
			}
		}
	}
	return true
}

// Without augmentation every place of a photo is cropped, and nothing is turned.
func TestCrops(t *testing.T) {
	const w, h, side = 9, 7, 5
	o := writePairs(t, 2, w, h)
	o.GTSize = side
	l := startLoader(t, openDataset(t, o), LoaderOptions{BatchSize: 8})
	places := map[[2]int]bool{}
	for range 50 {
		b := nextBatch(t, l)
		require.Equal(t, [3]int{8, side, side}, [3]int{b.N, b.H, b.W})
		for s := range b.N {
			first := b.GT[s*side*side*3:]
			top, left := level(first[0]), level(first[1])
			for i := range side * side {
				require.Equal(t, [2]int{top + i/side, left + i%side}, [2]int{level(first[3*i]), level(first[3*i+1])})
			}
			places[[2]int{top, left}] = true
		}
		b.Release()
	}
	require.Len(t, places, (w-side+1)*(h-side+1))
}

func TestBadImagesFail(t *testing.T) {
	o := writePairs(t, 9, 8, 8)
	o.GTSize = 8
	d := openDataset(t, o)
	bad := filepath.Join(o.DatarootGT, "photo4.png")
	damage(t, bad)
	for _, workers := range []int{1, 3} {
		l := startLoader(t, d, LoaderOptions{BatchSize: 3, Workers: workers})
		drawn := 0
		_, _, err := l.Next()
		for ; err == nil; _, _, err = l.Next() {
			drawn++
		}
		require.Less(t, drawn, 3, "the first epoch shows all")
		require.ErrorContains(t, err, bad)
		require.ErrorContains(t, err, "on_bad_image")
		require.ErrorContains(t, err, "repair")
		_, _, again := l.Next()
		require.Equal(t, err, again)
	}
}

func TestBadImagesAreSkipped(t *testing.T) {
	o := writePairs(t, 9, 12, 12)
	o.GTSize, o.SkipBad = 8, true
	d := openDataset(t, o)
	damage(t, o.DatarootGT, "photo4.png")
	damage(t, o.DatarootLQ, "photo7.png")
	require.NoError(t, os.Remove(filepath.Join(o.DatarootLQ, "photo2.png")))
	var want []Batch
	var wantTold []string
	for _, workers := range []int{1, 2, 7} {
		var told []string
		options := LoaderOptions{Seed: 3, BatchSize: 4, GeometricAugs: true, Workers: workers, OnSkip: func(path string, err error) {
			require.ErrorContains(t, err, path)
			told = append(told, path)
		}}
		got := drawBatches(t, startLoader(t, d, options), 27) // twelve epochs
		require.Len(t, told, 3, "once each")
		if want == nil {
			want, wantTold = got, told
			replaced := 0
			for _, b := range got {
				replaced += b.Replaced
				require.NotContains(t, b.Names, "photo4")
			}
			require.Equal(t, 3*12, replaced)
		}
		require.Equal(t, want, got, "%d workers", workers)
		require.Equal(t, wantTold, told, "%d workers", workers)
		options.Start, options.OnSkip = 13, nil
		require.Equal(t, want[13:], drawBatches(t, startLoader(t, d, options), 14))
	}
}

func TestAllImagesBad(t *testing.T) {
	o := writePairs(t, 5, 8, 8)
	o.GTSize, o.SkipBad = 8, true
	d := openDataset(t, o)
	for i := range 5 {
		damage(t, o.DatarootGT, fmt.Sprintf("photo%d.png", i))
	}
	told := 0
	l := startLoader(t, d, LoaderOptions{BatchSize: 4, EnlargeRatio: 3, Workers: 2, OnSkip: func(string, error) { told++ }})
	_, _, err := l.Next()
	require.ErrorContains(t, err, "none of the 5 pairs")
	require.Equal(t, 5, told)
}

func TestLoaderOptionsThatMakeNoSense(t *testing.T) {
	o := writePairs(t, 2, 8, 8)
	whole := openDataset(t, o)
	o.GTSize = 8
	d := openDataset(t, o)
	for _, c := range []struct {
		d    *Dataset
		o    LoaderOptions
		part string
	}{
		{whole, LoaderOptions{BatchSize: 1}, "gt_size"},
		{d, LoaderOptions{}, "batch_size_per_gpu"},
		{d, LoaderOptions{BatchSize: 1, EnlargeRatio: -1}, "dataset_enlarge_ratio"},
		{d, LoaderOptions{BatchSize: 1, EnlargeRatio: 1 << 40}, "dataset_enlarge_ratio"},
		{d, LoaderOptions{BatchSize: 1, Workers: -1}, "negative"},
	} {
		_, err := NewLoader(context.Background(), c.d, c.o)
		require.ErrorContains(t, err, c.part)
	}
	l := startLoader(t, d, LoaderOptions{BatchSize: 1, Phase: func(iter int) (int, int) { return 2 - iter, 8 }})
	nextBatch(t, l)
	_, _, err := l.Next()
	require.ErrorContains(t, err, "mini_batch_sizes and gt_sizes")
	require.ErrorContains(t, err, "iteration 2")
}

func TestStoppingLeavesNoGoroutines(t *testing.T) {
	o := writePairs(t, 6, 16, 16)
	o.GTSize = 16
	d := openDataset(t, o)
	before := runtime.NumGoroutine()
	gone := func() {
		t.Helper()
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 500 {
				stacks := make([]byte, 1<<16)
				t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for _, batches := range []int{0, 1, 5} {
		ctx, cancel := context.WithCancelCause(context.Background())
		l, err := NewLoader(ctx, d, LoaderOptions{BatchSize: 3, Workers: 4})
		require.NoError(t, err)
		drawBatches(t, l, batches)
		cause := errors.New("enough")
		cancel(cause)
		gone()
		_, _, err = l.Next()
		require.Equal(t, cause, err)

		l, err = NewLoader(context.Background(), d, LoaderOptions{BatchSize: 3, Workers: 4})
		require.NoError(t, err)
		drawBatches(t, l, batches)
		l.Close()
		gone()
		_, _, err = l.Next()
		require.ErrorIs(t, err, context.Canceled)
		l.Close()
	}
	// An error stops nothing by itself, but Close does.
	damage(t, o.DatarootLQ, "photo3.png")
	l, err := NewLoader(context.Background(), d, LoaderOptions{BatchSize: 6, Workers: 4})
	require.NoError(t, err)
	_, _, err = l.Next()
	require.ErrorContains(t, err, "photo3")
	l.Close()
	gone()
}

func TestNextStopsWaiting(t *testing.T) {
	o := writePairs(t, 2, 8, 8)
	o.GTSize = 8
	ctx, cancel := context.WithCancel(context.Background())
	released := make(chan struct{})
	l, err := NewLoader(ctx, openDataset(t, o), LoaderOptions{BatchSize: 1, Phase: func(int) (int, int) {
		<-released
		return 1, 8
	}})
	require.NoError(t, err)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, waited, err := l.Next()
	require.ErrorIs(t, err, context.Canceled)
	require.GreaterOrEqual(t, waited, 40*time.Millisecond)
	close(released)
	l.Close()
}

func TestBatchMemoryIsUsedAgain(t *testing.T) {
	o := writePairs(t, 4, 8, 8)
	o.GTSize = 8
	l := startLoader(t, openDataset(t, o), LoaderOptions{BatchSize: 2, Prefetch: 2})
	memory := map[*float32]bool{}
	for range 50 {
		b := nextBatch(t, l)
		memory[&b.LQ[0]], memory[&b.GT[0]] = true, true
		b.Release()
		require.Nil(t, b.LQ)
		b.Release() // does no harm
	}
	require.LessOrEqual(t, len(memory), 2*(2+2), "two ahead, one being made, one in use")
	// Batches not given back stay as they are.
	held := nextBatch(t, l)
	want := batchContent(held)
	drawBatches(t, l, 20)
	require.Equal(t, want, batchContent(held))
}

// BenchmarkLoader draws pairs of 512×512 PNGs with the noise and smoothness of photos. An image is one
// of the two photos of a pair, read, decoded, and cropped to 384×384.
func BenchmarkLoader(b *testing.B) {
	root := b.TempDir()
	o := Options{DatarootLQ: filepath.Join(root, "lq"), DatarootGT: filepath.Join(root, "gt"), GTSize: 384}
	for i := range 8 {
		for _, dir := range []string{o.DatarootLQ, o.DatarootGT} {
			p := &photo.Photo{Width: 512, Height: 512, Channels: 3, Max: 255, Pix: make([]uint16, 512*512*3)}
			r := streams.Numbered(uint64(i), dir, 0)
			for k := range p.Pix {
				p.Pix[k] = uint16(k/3%512/4 + k/3/512/8 + r.IntN(8))
			}
			savePhoto(b, p, dir, fmt.Sprintf("%d.png", i))
		}
	}
	d := openDataset(b, o)
	for workers := 1; workers <= runtime.GOMAXPROCS(0); workers *= 2 {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			l := startLoader(b, d, LoaderOptions{BatchSize: 8, GeometricAugs: true, Workers: workers})
			b.ReportAllocs()
			images := 0
			for b.Loop() {
				batch := nextBatch(b, l)
				images += 2 * batch.N
				batch.Release()
			}
			perSecond := float64(images) / b.Elapsed().Seconds()
			b.ReportMetric(perSecond, "images/s")
			b.ReportMetric(perSecond/float64(workers), "images/s/worker")
		})
	}
}
