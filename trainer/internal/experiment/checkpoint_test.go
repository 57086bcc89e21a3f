package experiment

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/checkpoint"
)

const resumeFixture = "../../../conformance/testdata/training/resume"

// tinyParams are the names and shapes of gopro_tiny's networks, in PyTorch's order.
func tinyParams(t testing.TB, nets ...string) (out []ParamState) {
	t.Helper()
	data, err := os.ReadFile("../../../conformance/testdata/networks/parameters.json")
	require.NoError(t, err)
	var configs map[string]map[string][][]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &configs))
	for _, net := range nets {
		for _, row := range configs["gopro_tiny"][net] {
			var key string
			var p ParamState
			require.NoError(t, json.Unmarshal(row[0], &key))
			require.NoError(t, json.Unmarshal(row[1], &p.Shape))
			p.Name = net + "." + key
			out = append(out, p)
		}
	}
	require.NotEmpty(t, out)
	return out
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// testCheckpoint has random values, shapes with a scalar and an empty one among them.
func testCheckpoint(iter int) *Checkpoint {
	r := rand.New(rand.NewPCG(1, uint64(iter)))
	fill := func(shape []int) []float32 {
		out := make([]float32, elements(shape))
		for i := range out {
			out[i] = math.Float32frombits(r.Uint32()&^(1<<30) | 1<<20) // any sign, small and tiny
		}
		return out
	}
	c := &Checkpoint{
		Iter: iter, Epoch: 12, Step: iter - 1,
		Optimizer: OptimizerState{LR: 1e-5, InitialLR: 2e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 1e-4},
		Scheduler: SchedulerState{Attributes: checkpoint.NewDict("total_iter", int64(100)), LastLR: 1.9e-4},
		Extra: &ExtraState{Seed: math.MaxUint64 - 3, Sample: 1 << 40, Validated: 8000, Best: BestResults{
			"GoPro":  {"psnr": {28.123456789, 4000}, "ssim": {0.9, 8000}},
			"ValSet": {"psnr": {math.Inf(1), 8000}},
		}},
	}
	for i, shape := range [][]int{{3, 5, 3, 3}, {}, {127}, {1, 0}, {2, 63}, {64, 33}} {
		net := []string{"net_g", "net_le"}[i/3]
		p := ParamState{Name: fmt.Sprintf("%s.layer.%d.weight", net, i), Shape: shape}
		p.Value, p.M, p.V = fill(shape), fill(shape), fill(shape)
		if net == "net_g" {
			p.EMA = fill(shape)
		}
		c.Params = append(c.Params, p)
	}
	return c
}

// onlyShapes is what a training knows of its parameters before it resumes.
func onlyShapes(params []ParamState) []ParamState {
	out := make([]ParamState, len(params))
	for i, p := range params {
		out[i] = ParamState{Name: p.Name, Shape: p.Shape}
	}
	return out
}

func newExperiment(t *testing.T, name string) *Experiment {
	t.Helper()
	e, err := Open(t.TempDir(), name, Fresh, testTime)
	require.NoError(t, err)
	return e
}

func TestCheckpointRoundTrip(t *testing.T) {
	e := newExperiment(t, "x")
	want := testCheckpoint(8000)
	path, err := e.Save(want)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(e.states, "8000.state"), path)
	got, err := Load(path, onlyShapes(want.Params))
	require.NoError(t, err)
	require.Equal(t, want, got)

	first := snapshot(t, e.Dir)
	_, err = e.Save(got)
	require.NoError(t, err)
	require.Equal(t, first, snapshot(t, e.Dir), "equal checkpoints give different bytes")
	require.Len(t, first, 3) // two networks and a state

	file, err := checkpoint.Open(t.Context(), e.modelPath("net_le", "8000"))
	require.NoError(t, err)
	require.NotContains(t, file.Groups, "params_ema")
}

func TestLatestNetworks(t *testing.T) {
	e := newExperiment(t, "x")
	c := testCheckpoint(7)
	require.NoError(t, e.SaveLatest(c))
	require.ElementsMatch(t, []string{"models/net_g_latest.pth", "models/net_le_latest.pth"}, sortedNames(snapshot(t, e.Dir)))
	file, err := checkpoint.Open(t.Context(), e.modelPath("net_g", "latest"))
	require.NoError(t, err)
	weights, err := file.Weights("params_ema")
	require.NoError(t, err)
	array, ok := weights.Get("layer.2.weight")
	require.True(t, ok)
	require.Equal(t, c.Params[2].EMA, array.Float32s())
}

// TestLoadPyTorch reads what BasicSR wrote after three iterations of stage one.
func TestLoadPyTorch(t *testing.T) {
	path := filepath.Join(resumeFixture, "3.state")
	c, err := Load(path, tinyParams(t, "net_g", "net_le"))
	require.NoError(t, err)
	require.Equal(t, []int{3, 0, 3}, []int{c.Iter, c.Epoch, c.Step})
	require.Nil(t, c.Extra)
	require.Equal(t, OptimizerState{LR: 2e-4, InitialLR: 2e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 1e-4}, c.Optimizer)
	require.Equal(t, 2e-4, c.Scheduler.LastLR)
	require.Equal(t, []any{"periods", "restart_weights", "eta_mins", "cumulative_period"}, c.Scheduler.Attributes.Keys())
	require.Len(t, c.Params, 196)

	raw, err := checkpoint.LoadPickle(path)
	require.NoError(t, err)
	r := &pickleReader{}
	moments := dictItem(r.only(raw.(*checkpoint.Dict), "optimizers"), "state").(*checkpoint.Dict)
	files := map[string]*checkpoint.StateDict{}
	for _, net := range []string{"net_g", "net_le"} {
		file, err := checkpoint.Open(t.Context(), filepath.Join(resumeFixture, net+"_3.pth"))
		require.NoError(t, err)
		files[net] = file.Groups["params"]
	}
	for i, p := range c.Params {
		one, _ := moments.Get(int64(i))
		m := dictItem(one.(*checkpoint.Dict), "exp_avg").(*checkpoint.Array)
		v := dictItem(one.(*checkpoint.Dict), "exp_avg_sq").(*checkpoint.Array)
		net, key, _ := strings.Cut(p.Name, ".")
		value, _ := files[net].Get(key)
		require.Equal(t, m.Shape, p.Shape, p.Name)
		require.Equal(t, m.Float32s(), p.M, p.Name)
		require.Equal(t, v.Float32s(), p.V, p.Name)
		require.Equal(t, value.Float32s(), p.Value, p.Name)
		require.Nil(t, p.EMA)
		require.True(t, slices.ContainsFunc(p.V, func(f float32) bool { return f > 0 }), p.Name)
	}
}

// TestWritePyTorch: what we write of what BasicSR wrote is the same Python object, keys in
// the same order, but for the type of the optimizer's step: float32, as it is unless the
// default was changed.
func TestWritePyTorch(t *testing.T) {
	params := tinyParams(t, "net_g", "net_le")
	c, err := Load(filepath.Join(resumeFixture, "3.state"), params)
	require.NoError(t, err)
	e := newExperiment(t, "x")
	path, err := e.Save(c)
	require.NoError(t, err)
	again, err := Load(path, params)
	require.NoError(t, err)
	require.Equal(t, c, again)

	for ours, theirs := range map[string]string{
		path: "3.state", e.modelPath("net_g", "3"): "net_g_3.pth", e.modelPath("net_le", "3"): "net_le_3.pth",
	} {
		want, err := checkpoint.LoadPickle(filepath.Join(resumeFixture, theirs))
		require.NoError(t, err)
		if theirs == "3.state" {
			r := &pickleReader{}
			moments := dictItem(r.only(want.(*checkpoint.Dict), "optimizers"), "state").(*checkpoint.Dict)
			for _, one := range moments.All() {
				step := dictItem(one.(*checkpoint.Dict), "step").(*checkpoint.Array)
				one.(*checkpoint.Dict).Set("step", step.As(checkpoint.F32))
			}
		}
		got, err := checkpoint.LoadPickle(ours)
		require.NoError(t, err)
		require.Equal(t, want, got, theirs)
	}
}

// edit saves c and changes its state on disk.
func edit(t *testing.T, c *Checkpoint, change func(state, optimizer, group *checkpoint.Dict)) string {
	t.Helper()
	e := newExperiment(t, "x")
	path, err := e.Save(c)
	require.NoError(t, err)
	state := c.state()
	optimizer := dictItem(state, "optimizers").([]any)[0].(*checkpoint.Dict)
	change(state, optimizer, dictItem(optimizer, "param_groups").([]any)[0].(*checkpoint.Dict))
	require.NoError(t, checkpoint.WritePTH(path, state))
	return path
}

// TestLoadVariants covers the forms in which PyTorch's versions keep the same things.
func TestLoadVariants(t *testing.T) {
	want := testCheckpoint(10)
	path := edit(t, want, func(state, optimizer, group *checkpoint.Dict) {
		moments := dictItem(optimizer, "state").(*checkpoint.Dict)
		renumbered := checkpoint.NewDict()
		numbers := []any{}
		for i := range want.Params {
			one, _ := moments.Get(int64(i))
			entry := one.(*checkpoint.Dict)
			switch i % 3 {
			case 0:
				entry.Set("step", int64(9)) // before PyTorch 1.12
			case 1:
				entry.Set("step", checkpoint.NewArray([]int{1}, []float32{9}))
			}
			if i != 3 { // a parameter without gradient has no entry
				renumbered.Set(int64(2*i+5), entry)
			}
			numbers = append(numbers, int64(2*i+5))
		}
		optimizer.Set("state", renumbered)
		group.Set("params", numbers)
		group.Set("betas", checkpoint.Tuple{0.9, 0.999})
		group.Set("weight_decay", int64(0))
		group.Set("fused", nil)
	})
	got, err := Load(path, onlyShapes(want.Params))
	require.NoError(t, err)
	want.Optimizer.WeightDecay = 0
	require.Equal(t, want, got)
}

func TestLoadRefuses(t *testing.T) {
	c := testCheckpoint(10)
	moment := func(optimizer *checkpoint.Dict, i int64) *checkpoint.Dict {
		one, _ := dictItem(optimizer, "state").(*checkpoint.Dict).Get(i)
		return one.(*checkpoint.Dict)
	}
	for name, test := range map[string]struct {
		change func(state, optimizer, group *checkpoint.Dict)
		want   []string
	}{
		"amsgrad":        {func(_, _, g *checkpoint.Dict) { g.Set("amsgrad", true) }, []string{"amsgrad"}},
		"two optimizers": {func(s, o, _ *checkpoint.Dict) { s.Set("optimizers", []any{o, o}) }, []string{"not a training state", `"optimizers" is not a list of one`}},
		"no iter":        {func(s, _, _ *checkpoint.Dict) { s.Set("iter", nil) }, []string{`"iter" is missing or no number`}},
		"odd iter":       {func(s, _, _ *checkpoint.Dict) { s.Set("iter", 1.5) }, []string{`"iter" is 1.5`}},
		"negative epoch": {func(s, _, _ *checkpoint.Dict) { s.Set("epoch", int64(-1)) }, []string{`"epoch" is -1`}},
		"list":           {func(_, o, _ *checkpoint.Dict) { o.Set("state", []any{}) }, []string{`"state" is a []interface {} instead of a *checkpoint.Dict`}},
		"betas":          {func(_, _, g *checkpoint.Dict) { g.Set("betas", []any{0.9}) }, []string{`"betas" is not a pair`}},
		"no lr":          {func(s, _, _ *checkpoint.Dict) { s.Set("schedulers", []any{checkpoint.NewDict()}) }, []string{"_last_lr"}},
		"fewer":          {func(_, _, g *checkpoint.Dict) { g.Set("params", []any{int64(0)}) }, []string{"its optimizer has 1 parameters, the options make 6"}},
		"steps":          {func(_, o, _ *checkpoint.Dict) { moment(o, 4).Set("step", int64(3)) }, []string{"net_le.layer.4.weight had 3 steps", "others 9"}},
		"no moment":      {func(_, o, _ *checkpoint.Dict) { moment(o, 4).Set("exp_avg", nil) }, []string{"net_le.layer.4.weight", `"exp_avg"`}},
		"moment's shape": {func(_, o, _ *checkpoint.Dict) {
			moment(o, 2).Set("exp_avg_sq", checkpoint.NewArray([]int{1}, []float32{1}))
		}, []string{"net_g.layer.2.weight: [1] in exp_avg_sq instead of [127]"}},
		"extra": {func(s, _, _ *checkpoint.Dict) { s.Set("hidiff", int64(1)) }, []string{`"hidiff" is a int64`}},
		"extra's best": {func(s, _, _ *checkpoint.Dict) {
			dictItem(s, "hidiff").(*checkpoint.Dict).Set("best", checkpoint.NewDict("a", int64(1)))
		}, []string{`"best"`}},
		"another iter": {func(s, _, _ *checkpoint.Dict) { s.Set("iter", int64(11)) }, []string{"missing: put net_g_11.pth and net_le_11.pth into", "models"}},
		"not a state":  {func(s, _, _ *checkpoint.Dict) { *s = *checkpoint.NewDict("params", int64(1)) }, []string{"not a training state"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := edit(t, c, test.change)
			_, err := Load(path, onlyShapes(c.Params))
			require.ErrorContains(t, err, path)
			for _, part := range test.want {
				require.ErrorContains(t, err, part)
			}
		})
	}

	// Everything that differs is in one error.
	e := newExperiment(t, "x")
	path, err := e.Save(c)
	require.NoError(t, err)
	params := onlyShapes(c.Params)
	params[0].Shape = []int{3, 5, 1, 1}
	params[1].Name = "net_g.new.bias"
	params[5].Shape = []int{33, 64}
	_, err = Load(path, params)
	for _, part := range []string{
		path, "net_g.layer.0.weight: [3 5 3 3] instead of [3 5 1 1]", "net_g.layer.0.weight: [3 5 3 3] in params_ema",
		"net_g.new.bias: missing", "net_g.layer.1.weight: only in the checkpoint", "net_le.layer.5.weight: [64 33] instead of [33 64]",
	} {
		require.ErrorContains(t, err, part)
	}
	stageTwo := tinyParams(t, "net_g", "net_le_dm", "net_d")
	_, err = Load(filepath.Join(resumeFixture, "3.state"), stageTwo)
	require.ErrorContains(t, err, "net_le_dm_3.pth and net_d_3.pth")
	_, err = Load(filepath.Join(resumeFixture, "net_g_3.pth"), stageTwo)
	require.ErrorContains(t, err, "not a training state")
	_, err = Load(filepath.Join(e.states, "9.state"), params)
	require.ErrorIs(t, err, os.ErrNotExist)

	many := onlyShapes(tinyParams(t, "net_g", "net_le"))
	for i := range many {
		many[i].Shape = []int{7}
	}
	_, err = Load(filepath.Join(resumeFixture, "3.state"), many)
	require.ErrorContains(t, err, "; and 188 more")
	require.Equal(t, 8, strings.Count(err.Error(), "instead of"))
}

func TestHalfAnAverage(t *testing.T) {
	c := testCheckpoint(10)
	c.Params[0].EMA = nil
	e := newExperiment(t, "x")
	_, err := e.Save(c)
	require.ErrorContains(t, err, "net_g has a moving average of 2 of its 3 parameters")
	require.Empty(t, snapshot(t, e.Dir))
}

func TestBestResults(t *testing.T) {
	b := BestResults{}
	require.Equal(t, BestResult{1, 10}, b.Update("a", "psnr", BestResult{1, 10}))
	require.Equal(t, BestResult{2, 20}, b.Update("a", "psnr", BestResult{2, 20}))
	require.Equal(t, BestResult{2, 20}, b.Update("a", "psnr", BestResult{2, 30}), "the first of equals")
	require.Equal(t, BestResult{2, 20}, b.Update("a", "psnr", BestResult{math.NaN(), 40}))
	require.Equal(t, BestResult{0.5, 40}, b.Update("b", "psnr", BestResult{0.5, 40}))
	require.ElementsMatch(t, []int{20, 40}, b.Iters())
}

// What is no training state is called what it is, and the state that was meant is named.
func TestLoadWhatIsNoState(t *testing.T) {
	e := newExperiment(t, "x")
	for _, iter := range []int{2, 5, 10} {
		_, err := e.Save(testCheckpoint(iter))
		require.NoError(t, err)
	}
	weights := filepath.Join(t.TempDir(), "w.safetensors")
	state := checkpoint.NewStateDict()
	state.Set("a", checkpoint.NewArray([]int{1}, []float32{1}))
	require.NoError(t, checkpoint.WriteSafetensors(weights, map[string]*checkpoint.StateDict{"": state}, nil))
	text := filepath.Join(t.TempDir(), "notes.txt")
	touch(t, text)
	meant := func(iter int) string { return "did you mean " + e.StatePath(iter) + "?" }
	for _, c := range []struct{ path, what, hint string }{
		{e.modelPath("net_g", "5"), "holds weights, not a training state such as 1000.state", meant(5)},
		{e.modelPath("net_le", "latest"), "there is no training state", meant(10)},
		{e.Dir, "is a folder: a training state is a file such as 1000.state", meant(10)},
		{e.states, "is a folder", meant(10)},
		{e.models, "is a folder", meant(10)},
		{filepath.Join(e.states, "7.state"), "there is no training state", meant(10)},
		{filepath.Join(e.Dir, "2.state"), "there is no training state", meant(2)},
		{weights, "holds weights, not a training state", ""},
		{text, "neither a .pth file", ""},
		{filepath.Join(t.TempDir(), "none", "5.state"), "there is no training state", ""},
	} {
		_, err := Load(c.path, nil)
		require.ErrorContains(t, err, c.path)
		require.ErrorContains(t, err, c.what)
		require.ErrorContains(t, err, c.hint)
		require.Equal(t, c.hint != "", strings.Contains(err.Error(), "did you mean"), c.path)
	}
}
