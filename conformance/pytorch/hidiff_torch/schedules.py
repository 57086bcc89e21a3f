"""Learning rates by iteration 1, 2, …, as BasicSR sets them: a scheduler steps once per iteration, from the second on."""

import math


def learning_rate(iteration, base, kind, args, warmup_iter=-1):
    """The rate of an iteration. While it is less than warmup_iter, the rate rises linearly instead.

    Schedulers that derive a rate from the one before (MultiStepRestartLR) are written for runs without a warm-up.
    """
    if iteration < warmup_iter:
        return base / warmup_iter * iteration
    return SCHEDULES[kind](iteration - 1, base, **args)


def cosine_restart(step, base, periods, restart_weights, eta_mins=None, eta_min=0):
    """Half a cosine in every period, from a weight times base to a least rate."""
    start = i = 0
    while step > start + periods[i]:
        start += periods[i]
        i += 1
    least = eta_min if eta_mins is None else eta_mins[i]
    return least + restart_weights[i] * 0.5 * (base - least) * (1 + math.cos(math.pi * (step - start) / periods[i]))


def multi_step_restart(step, base, milestones, gamma, restarts, restart_weights):
    """Multiplied by gamma at every milestone, and set to a weight times base at every restart."""
    restart, weight = max((r, w) for r, w in zip(restarts, restart_weights) if r <= step)
    return base * weight * gamma ** sum(restart < m <= step for m in milestones)


def linear(step, base, total_iter):
    return (1 - step / total_iter) * base


def vibrate(step, base, total_iter):
    """A zigzag of 80 periods below an envelope of three parts."""
    process = step / total_iter
    envelope = 1 - process * 8 / 3 if process < 3 / 8 else 0.2 if process < 5 / 8 else 0.1
    period = total_iter // 80
    half = period // 2
    at = step % period
    weight = envelope * (at / half if at < half else 2 - at / half)
    return base * (max(0.1, weight) if step < half else weight)


SCHEDULES = {
    'CosineAnnealingRestartCyclicLR': cosine_restart,
    'CosineAnnealingRestartLR': cosine_restart,
    'MultiStepRestartLR': multi_step_restart,
    'LinearLR': linear,
    'VibrateLR': vibrate,
}
