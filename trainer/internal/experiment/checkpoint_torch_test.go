package experiment

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"hidiff/hidiff/options"
	"hidiff/internal/testenv"
)

// TestTorchGoesOn lets PyTorch load what we wrote of BasicSR's training, as BasicSR does, and take two
// more steps from there and from the original: they must be equal to the bit.
func TestTorchGoesOn(t *testing.T) {
	program := testenv.Python(t, "torch")
	c, err := Load(filepath.Join(resumeFixture, "3.state"), tinyParams(t, "net_g", "net_le"))
	require.NoError(t, err)
	c.Extra = &ExtraState{Seed: 1 << 63, Sample: 48, Best: BestResults{"Val": {"psnr": {28, 3}}}}
	for i := range c.Params {
		c.Params[i].EMA = c.Params[i].Value
	}
	e := newExperiment(t, "x")
	ours, err := e.Save(c)
	require.NoError(t, err)

	// A scheduler that PyTorch has of its own.
	c.Iter = 40
	c.Scheduler = SchedulerState{options.SchedulerOptions{Type: "TrueCosineAnnealingLR", TMax: 100, EtaMin: 1e-6}.Attributes(100), 1.5e-4}
	cosine, err := e.Save(c)
	require.NoError(t, err)

	const script = `
import sys, torch
def same(a, b):
    if torch.is_tensor(a):
        assert torch.is_tensor(b) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b), (list(a), list(b))
        for k in a: same(a[k], b[k])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b): same(x, y)
    else:
        assert type(a) is type(b) and a == b, (a, b)

def resume(models, path):
    params = []
    for net in ('net_g', 'net_le'):
        file = torch.load(f'{models}/{net}_3.pth', weights_only=True)
        if 'params_ema' in file: same(file['params'], file['params_ema'])
        params += [torch.nn.Parameter(p) for p in file['params'].values()]
    optimizer = torch.optim.AdamW(params, lr=1, betas=(0.5, 0.6), weight_decay=0.5)
    state = torch.load(path, weights_only=True)
    same([state['iter'], state['epoch']], [3, 0])
    optimizer.load_state_dict(state['optimizers'][0])
    torch.manual_seed(0)
    for step in range(2):
        for p in params: p.grad = torch.randn_like(p)
        optimizer.step()
    return [p.data for p in params], [optimizer.state[p] for p in params], optimizer.param_groups[0]['lr'], state

models, ours, fixture, cosine = sys.argv[1:]
a, a_state, a_lr, a_file = resume(fixture, fixture + '/3.state')
b, b_state, b_lr, b_file = resume(models, ours)
for s in a_state: s['step'] = s['step'].float()
same(a, b); same(a_state, b_state); same(a_lr, b_lr); same(a_file['schedulers'], b_file['schedulers'])
assert len(b) == 196 and all(s['step'] == 5 for s in b_state)

state = torch.load(cosine, weights_only=True)
p = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.AdamW([{'params': [p], 'initial_lr': 2e-4}], lr=2e-4)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
scheduler.load_state_dict(state['schedulers'][0])
assert scheduler.last_epoch == 39 and scheduler.T_max == 100 and scheduler.get_last_lr() == [1.5e-4]
optimizer.step(); scheduler.step()
assert scheduler.last_epoch == 40 and scheduler.base_lrs == [2e-4]
print('torch', torch.__version__, 'agrees on', len(b), 'parameters')
`
	out, err := exec.Command(program, "-c", script, e.models, ours, resumeFixture, cosine).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}
