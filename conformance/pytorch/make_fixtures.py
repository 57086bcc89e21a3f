"""Makes ../testdata anew from what is in it: inputs, given weights and metadata stay, all else is computed in float64.

    make_fixtures.py                 replaces the files in ../testdata that differ by more than rounding
    make_fixtures.py --check         only names them, and fails if there are any
    make_fixtures.py --add NAME OP x=3x50 w=7x5x3x3 [ATTR=NUMBER ...]
                                     adds ops/NAME.safetensors, of an operator in hidiff_torch/ops.py

Not made: metrics/ (BasicSR's, MATLAB's and OpenCV's scores), options/ (text), README.md, and the photos that
end_to_end/ begins with. They are inputs.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from hidiff_torch import ops
from hidiff_torch.diffusion import Diffusion
from hidiff_torch.networks import MODULES, NETS, Networks, scale_and_offset, uniform
from hidiff_torch.schedules import learning_rate
from hidiff_torch.training import MAX_NORM, Trainer

TESTDATA = Path(__file__).resolve().parent.parent / 'testdata'

# How far a value may be from the stored one, relative to the tensor's largest. Rounding to float32 makes 6e-8 of it;
# AdamW's first step adds to that where a gradient is next to nothing.
TOLERANCE = 1e-6

# By how much a noise-predicting sampler may amplify before its training cannot be followed past the first iteration:
# then not even float64 can, where sums are in another order.
CHAOTIC = 100


def read(path):
    """A fixture's tensors, in float64, and its metadata with JSON decoded where it is JSON."""
    with safe_open(path, 'pt') as file:
        return {key: file.get_tensor(key).double() for key in file.keys()}, file.metadata() or {}


def write(path, tensors, metadata):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    save_file(tensors, path, metadata or None)


def under(tensors, prefix):
    return {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}


def backward(tensors, inputs, out):
    """Adds out, and the gradients of inputs under their names: in.x gets grad.x, param.w gets param_grad.w."""
    out = out.reshape(tensors['grad_out'].shape)
    gradients = torch.autograd.grad(out, list(inputs.values()), tensors['grad_out'])
    tensors['out'] = out
    for name, gradient in zip(inputs, gradients):
        kind, key = name.split('.', 1)
        tensors[{'in': 'grad.', 'param': 'param_grad.'}[kind] + key] = gradient


def leaves(tensors, prefix):
    return {prefix + key: value.requires_grad_() for key, value in under(tensors, prefix).items()}


def make_op(tensors, metadata):
    inputs = leaves(tensors, 'in.')
    out = ops.OPS[metadata['op']](**under(inputs, 'in.'), **json.loads(metadata['attrs']))
    backward(tensors, inputs, out)


def make_module(tensors, metadata):
    options = json.loads(metadata['options'])
    fixed = {'time': options.pop('time')} if 'time' in options else {}
    module = MODULES[metadata['module']](**options)
    module.load_state_dict(under(tensors, 'param.'))
    inputs = leaves(tensors, 'in.')
    out = module(**under(inputs, 'in.'), **fixed)
    parameters = {'param.' + key: value for key, value in module.named_parameters()}
    backward(tensors, {**inputs, **parameters}, out)


def make_network(tensors, metadata):
    n = Networks(json.loads(metadata['config'])).fill(metadata['fill_prefix'])
    lq, gt = tensors['lq'], tensors['gt']
    for name in under(tensors, 'schedule.'):
        tensors['schedule.' + name] = getattr(n.diffusion, name)
    with torch.no_grad():
        tensors['s2.condition'] = n.net_le_dm(lq)
        tensors['s2.prior'] = n.diffusion.sample(n.net_d, tensors['s2.noise'], tensors['s2.condition'])
        tensors['s2.out'] = n.net_g(lq, tensors['s2.prior'])
    tensors['s1.prior'] = n.net_le(lq, gt)
    tensors['s1.out'] = n.net_g(lq, tensors['s1.prior'])
    tensors['s1.loss'] = (tensors['s1.out'] - gt).abs().mean().reshape(1)
    tensors['s1.loss'].backward()
    picks = json.loads(metadata['picks'])
    for net in ('net_g', 'net_le'):
        for key, parameter in getattr(n, net).named_parameters():
            name, gradient = f'{net}.{key}', parameter.grad
            if name in picks:
                tensors['s1.gradsum.' + name] = torch.cat([gradient.norm().reshape(1), gradient.flatten()[picks[name]]])
            else:
                tensors['s1.grad.' + name] = gradient


def make_end_to_end(tensors, metadata, photo):
    n = Networks(json.loads(metadata['config'])).fill(metadata['fill_prefix'])
    with torch.no_grad():
        scaled = n.net_g.output.weight * float(metadata['output_weight_scale'])
        n.net_g.output.weight.copy_(scaled.float())
        lq = (torch.from_numpy(np.array(Image.open(photo))).float() / 255).double().permute(2, 0, 1)[None]
        height, width = lq.shape[2:]
        lq = ops.reflect_pad_right_bottom(lq, -width % 8, -height % 8)
        tensors['prior'] = n.diffusion.sample(n.net_d, tensors['noise'], n.net_le_dm(lq))
        tensors['out'] = n.net_g(lq, tensors['prior'])[:, :, :height, :width]
    pixels = (tensors['out'][0].clamp(0, 1) * 255).round().to(torch.uint8)  # half to even
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def make_training(tensors, metadata, resume):
    """All iterations. After the third, stage one of gopro_tiny is written to resume as BasicSR would."""
    train, trained = json.loads(metadata['train']), json.loads(metadata['trained'])
    n = Networks(json.loads(metadata['config'])).fill(metadata['fill_prefix'])
    trainer = Trainer(n, train, trained)
    schedule = dict(train['scheduler'])
    kind, base = schedule.pop('type'), train['optim_total']['lr']
    iteration = 0
    while f'iter{iteration + 1}.lq' in tensors:
        iteration += 1
        at = f'iter{iteration}.'
        rate = learning_rate(iteration, base, kind, schedule)
        losses, norm = trainer.step(tensors[at + 'lq'], tensors[at + 'gt'], tensors.get(at + 'noise'), rate)
        tensors[at + 'lr'] = torch.tensor([rate])
        tensors[at + 'grad_norm'] = norm.reshape(1)
        for name, loss in losses.items():
            tensors[at + name] = loss.reshape(1)
        if under(tensors, at + 'param.'):
            for net in trained:
                for key, parameter in getattr(n, net).named_parameters():
                    tensors[f'{at}param.{net}.{key}'] = parameter.detach().clone()
        if iteration == 3 and resume:
            write_resume(resume, n, trained, trainer, kind, schedule, base, rate)


def write_resume(folder, n, trained, trainer, kind, schedule, base, rate):
    folder.mkdir(parents=True, exist_ok=True)
    for net in trained:
        torch.save({'params': float32(getattr(n, net).state_dict())}, folder / f'{net}_3.pth')
    assert kind == 'CosineAnnealingRestartCyclicLR'
    optimizer = trainer.optimizer.state_dict()
    optimizer['state'] = {i: {**float32(state), 'step': state['step']} for i, state in optimizer['state'].items()}
    for group in optimizer['param_groups']:
        group['initial_lr'] = base
    scheduler = dict(
        schedule, cumulative_period=np.cumsum(schedule['periods']).tolist(), base_lrs=[base], last_epoch=2, verbose=False,
        _step_count=3, _get_lr_called_within_step=False, _last_lr=[rate])
    torch.save({'epoch': 0, 'iter': 3, 'optimizers': [optimizer], 'schedulers': [scheduler]}, folder / '3.state')


def float32(tensors):
    return type(tensors)((key, value.float() if value.is_floating_point() else value) for key, value in tensors.items())


def make_optim(tensors, kind):
    p = tensors['p0'].clone().requires_grad_()
    optimizer = getattr(torch.optim, kind)([p], lr=2e-3, weight_decay=1e-2)
    for i in range(len(under(tensors, 'g'))):
        p.grad = tensors[f'g{i}']
        optimizer.step()
        tensors[f'p{i + 1}'] = p.detach().clone()


def make_clip(tensors):
    n = sum(key.startswith('g') for key in tensors)
    parameters = [torch.zeros_like(tensors[f'g{i}']) for i in range(n)]
    for i, p in enumerate(parameters):
        p.grad = tensors[f'g{i}'].clone()
    tensors['norm'] = torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM).reshape(1)
    for i, p in enumerate(parameters):
        tensors[f'clipped{i}'] = p.grad


def make_all(to):
    """Writes all fixtures to a folder, and yields their paths in it."""
    for path in sorted(TESTDATA.rglob('*.safetensors')):
        name = path.relative_to(TESTDATA)
        tensors, metadata = read(path)
        if 'op' in metadata:
            make_op(tensors, metadata)
        elif 'module' in metadata:
            make_module(tensors, metadata)
        elif 'train' in metadata:
            resume = to / 'training' / 'resume' if path.stem == 'gopro_tiny_s1' else None
            make_training(tensors, metadata, resume)
        elif 'output_weight_scale' in metadata:
            photo = make_end_to_end(tensors, metadata, path.with_suffix('.png'))
            photo_name = name.with_name(path.stem + '_expected.png')
            (to / photo_name).parent.mkdir(parents=True, exist_ok=True)
            photo.save(to / photo_name)
            yield photo_name
        elif 'config' in metadata:
            make_network(tensors, metadata)
        elif path.stem == 'clip_grad_norm':
            make_clip(tensors)
        else:
            make_optim(tensors, {'optim_adam': 'Adam', 'optim_adamw': 'AdamW'}[path.stem])
        write(to / name, tensors, metadata)
        yield name
    yield from make_checkpoints(to)
    yield from make_parameters(to)
    yield from make_schedules(to)


def configurations():
    """By prefix, from the metadata of networks/."""
    configs = {}
    for path in sorted((TESTDATA / 'networks').glob('*.safetensors')):
        metadata = read(path)[1]
        configs[metadata['fill_prefix']] = json.loads(metadata['config'])
    return configs


def make_checkpoints(to):
    for path in sorted((to / 'training' / 'resume').iterdir()):
        yield path.relative_to(to)
    prefix = 'gopro_tiny'
    n = Networks(configurations()[prefix]).fill(prefix)
    (to / 'checkpoints').mkdir(exist_ok=True)
    for net, module in n.nets().items():
        name = Path('checkpoints') / f'{prefix}_{net}.pth'
        torch.save({'params': float32(module.state_dict())}, to / name)
        yield name


def make_parameters(to):
    configs, name = configurations(), Path('networks/parameters.json')
    with torch.device('meta'):
        table = {prefix: {
            net: [[key, list(p.shape), *scale_and_offset(key, p.shape)] for key, p in module.named_parameters()]
            for net, module in Networks(configs[prefix]).nets().items()
        } for prefix in ('gopro', 'realblur', 'gopro_tiny', 'realblur_tiny')}
    (to / name).write_text(json.dumps(table))
    yield name


def make_schedules(to):
    name = Path('training/lr_schedules.json')
    rows = json.loads((TESTDATA / name).read_text())
    for row in rows:
        row['lr'] = [learning_rate(i + 1, row['base_lr'], row['type'], row['args'], row['warmup_iter']) for i in range(len(row['lr']))]
    (to / name).write_text(json.dumps(rows))
    yield name


def difference(made, stored, at=''):
    """How far two values of any kind are apart, relative to the stored one's largest; strings and shapes must agree."""
    if torch.is_tensor(stored):
        if made.shape != stored.shape or made.dtype != stored.dtype:
            raise ValueError(f'{at}: {made.dtype}{list(made.shape)}, not {stored.dtype}{list(stored.shape)}')
        apart = (made.double() - stored.double()).abs().max().item() if made.numel() else 0
        largest = stored.double().abs().max().item() if made.numel() else 1
        if math.isnan(apart):
            raise ValueError(f'{at}: not a number')
        return apart / largest if apart else 0
    if isinstance(stored, dict):
        if list(made) != list(stored):
            raise ValueError(f'{at}: other keys: {sorted(set(made) ^ set(stored), key=str) or "in another order"}')
        return max((difference(made[key], stored[key], f'{at}.{key}') for key in stored), default=0)
    if isinstance(stored, (list, tuple)):
        if len(made) != len(stored):
            raise ValueError(f'{at}: {len(made)} items, not {len(stored)}')
        return max((difference(a, b, f'{at}[{i}]') for i, (a, b) in enumerate(zip(made, stored))), default=0)
    if isinstance(stored, float) or isinstance(made, float):
        return abs(made - stored) / abs(stored) if made != stored else 0
    if made != stored:
        raise ValueError(f'{at}: {made!r}, not {stored!r}')
    return 0


# Options of AdamW that PyTorch 1.13 had not yet.
NEWER = {'fused', 'differentiable', 'decoupled_weight_decay'}


def chaotic(metadata):
    """A training fixture of which only the first iteration can be repeated."""
    if 'net_d' not in metadata.get('trained', ''):
        return False
    diffusion = Diffusion(**json.loads(metadata['config'])['diff'])
    return not diffusion.apply_ldm and diffusion.sqrt_recip_alphas_cumprod[-1].item() > CHAOTIC


def content(path):
    """What a file says, apart from how it is written."""
    if path.suffix == '.safetensors':
        with safe_open(path, 'pt') as file:
            metadata = dict(sorted((file.metadata() or {}).items()))
            keys = sorted(key for key in file.keys() if key.startswith('iter1.') or not chaotic(metadata))
            return {'metadata': metadata, **{key: file.get_tensor(key) for key in keys}}
    if path.suffix == '.json':
        return json.loads(path.read_text())
    if path.suffix == '.png':
        return torch.from_numpy(np.array(Image.open(path)))
    saved = torch.load(path, weights_only=True)
    for optimizer in saved.get('optimizers', []):  # PyTorch's versions differ in how they write these
        optimizer['param_groups'] = [{key: group[key] for key in sorted(group) if key not in NEWER} for group in optimizer['param_groups']]
    return saved


def make(replace):
    """Makes all fixtures, and names those that differ from the stored ones; or replaces these. It returns their number."""
    files = differ = worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in make_all(Path(folder)):
            made, stored = Path(folder) / name, TESTDATA / name
            files += 1
            try:
                apart = difference(content(made), content(stored))
                worst = max(worst, apart)
                if apart <= TOLERANCE:
                    continue
                print(f'{name}: {apart:.1e} apart')
            except (ValueError, OSError) as error:
                print(f'{name}: {error}')
            differ += 1
            if replace:
                stored.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(made, stored)
    print(f'{files} files made, {differ} {"replaced" if replace else "differ"}; values are {worst:.1e} apart at most')
    return differ


def add(name, op, arguments):
    path = TESTDATA / 'ops' / f'{name}.safetensors'
    if path.exists():
        sys.exit(f'{path} exists')
    tensors, attrs = {}, {}
    for argument in arguments:
        key, value = argument.split('=')
        if 'x' in value:
            shape = [int(size) for size in value.split('x')]
            tensors['in.' + key] = torch.from_numpy(uniform(f'{name}/in.{key}', math.prod(shape))).reshape(shape)
        else:
            attrs[key] = json.loads(value)
    shape = list(ops.OPS[op](**under(tensors, 'in.'), **attrs).shape) or [1]
    tensors['grad_out'] = torch.from_numpy(uniform(f'{name}/grad_out', math.prod(shape))).reshape(shape)
    metadata = {'op': op, 'attrs': json.dumps(attrs)}
    make_op(tensors, metadata)
    write(path, tensors, metadata)
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--add', nargs='+', metavar=('NAME', 'OP'))
    o = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    if o.add:
        if len(o.add) < 3 or o.add[1] not in ops.OPS:
            parser.error(f'--add takes a name, an operator and its inputs; there are {", ".join(ops.OPS)}')
        add(o.add[0], o.add[1], o.add[2:])
    else:
        sys.exit(make(replace=not o.check) > 0 and o.check)


if __name__ == '__main__':
    main()
