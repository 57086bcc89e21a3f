"""Times hidiff beside PyTorch: the same networks, shapes and iterations, turn by turn on one machine.

Every repetition of a workload starts one process of hidiff, then one of PyTorch for each mode; each warms up, and times
one run. Medians are reported. Peak memory is that of the whole process on a CPU, and that of the device on a GPU.
The last lines are 'ratio WORKLOAD VALUE': hidiff's time over PyTorch eager's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORKLOADS = ('forward', 'step', 'stage-two-step', 'small-step')
LARGE = ('forward-720p', 'stage-two-step-256')
LOSS = {'type': 'L1Loss', 'loss_weight': 1.0}
TRAIN = {'use_grad_clip': True, 'optim_total': {'type': 'AdamW', 'lr': 1e-6}, 'pixel_opt': LOSS, 'pixel_diff_opt': LOSS}
WARM_UPS = 2


def worker(work, mode, device):
    """Times one run in this process, which prints its seconds, and on a GPU the peak of its memory."""
    import torch

    from hidiff_torch.networks import Networks
    from hidiff_torch.training import Trainer

    torch.manual_seed(0)
    torch.set_num_threads(cores())
    tf32 = 'tf32' in mode
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    n = Networks(work['config']).to(device)
    if 'compile' in mode:
        for net in n.nets().values():
            net.compile()
    image = work['count'], 3, work['height'], work['width']
    lq, gt = torch.rand(image, device=device), torch.rand(image, device=device)
    noise = torch.randn(work['count'], work['config']['g']['group'] ** 2, 4 * work['config']['g']['embed_dim'], device=device)
    if work['stage'] == 0:
        def run():
            with torch.inference_mode():
                n(lq, noise)
    else:
        trainer = Trainer(n, TRAIN, ['net_g', 'net_le'] if work['stage'] == 1 else ['net_g', 'net_le_dm', 'net_d'])

        def run():
            trainer.step(lq, gt, noise, 1e-6)

    def wait():
        if device == 'cuda':
            torch.cuda.synchronize()

    for _ in range(WARM_UPS):
        run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    result = {'seconds': time.perf_counter() - start, 'version': torch.__version__}
    if device == 'cuda':
        result['peak'] = torch.cuda.max_memory_allocated()
    print(json.dumps(result))


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def measure(command):
    """Runs a command that prints one line of JSON. Where that knows of no device's peak, the process's counts."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    line = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'{" ".join(map(str, command[:4]))} … failed')
    resident = usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
    return {'resident': resident, **json.loads(line)}


def compare(workload, o, modes):
    """All repetitions of a workload: a list of results by side."""
    ours = [o.hidiff, 'bench', '--only', workload, '--json', '--runs', '1'] + (['--gpu', o.gpu] if o.gpu else [])
    sides = {side: [] for side in ('hidiff', *modes)}
    for repetition in range(o.runs):
        for side, results in sides.items():
            if side == 'hidiff':
                work = measure(ours)
                result = work
            else:
                result = measure([sys.executable, __file__, '--worker', json.dumps(work), side, o.device])
            results.append({
                'seconds': result['seconds'],
                'peak': result['peak'] if o.device == 'cuda' else result['resident'],
            })
            print(f'{workload} {repetition + 1}/{o.runs} {side}: {result["seconds"]:.3f} s', file=sys.stderr)
    return sides


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hidiff', default=ROOT / 'bin' / 'hidiff', help='the program')
    parser.add_argument('--gpu', help='the GPU of hidiff, as hidiff gpus names it')
    parser.add_argument('--device', choices=['cpu', 'cuda'], help="PyTorch's; cuda where there is one")
    parser.add_argument('--only', choices=WORKLOADS + LARGE, nargs='+', default=WORKLOADS, help=f'all but {" and ".join(LARGE)}')
    parser.add_argument('--modes', nargs='+', help='eager and compile; on cuda eager-tf32 and compile-tf32, too')
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--out', type=Path, help='write all results to this file, as JSON')
    parser.add_argument('--worker', nargs=3, help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.worker:
        work, mode, device = o.worker
        return worker(json.loads(work), mode, device)

    import torch
    o.device = o.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    known = ['eager', 'compile'] + (['eager-tf32', 'compile-tf32'] if o.device == 'cuda' else [])
    modes = o.modes or known
    if unknown := set(modes) - set(known):
        parser.error(f'--modes {" ".join(sorted(unknown))}: on {o.device} there are {", ".join(known)}')
    if 'eager' not in modes:
        parser.error('--modes must name eager, which ratios are of')

    results = {workload: compare(workload, o, modes) for workload in o.only}
    print(f'PyTorch {torch.__version__} on {o.device}, {cores()} threads; medians of {o.runs}')
    print(f'{"workload":16}{"side":14}{"ms":>12}{"peak MiB":>12}')
    for workload, sides in results.items():
        for side, runs in sides.items():
            ms = statistics.median(r['seconds'] for r in runs) * 1e3
            peak = max(r['peak'] for r in runs) / 2**20
            print(f'{workload:16}{side:14}{ms:12.1f}{peak:12.0f}')
    for workload, sides in results.items():
        ours, theirs = (statistics.median(r['seconds'] for r in sides[side]) for side in ('hidiff', 'eager'))
        print(f'ratio {workload} {ours / theirs:.2f}')
    if o.out:
        o.out.write_text(json.dumps({'torch': torch.__version__, 'device': o.device, 'threads': cores(), 'results': results}, indent=1) + '\n')


if __name__ == '__main__':
    main()
