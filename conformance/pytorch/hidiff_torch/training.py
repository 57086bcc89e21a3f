"""Losses, and one iteration of either stage (sections 3.2 and 3.4)."""

import torch
import torch.nn.functional as F

from . import ops

LOSSES = {'L1Loss': F.l1_loss, 'MSELoss': F.mse_loss, 'CharbonnierLoss': ops.charbonnier_loss}

MAX_NORM = 0.01  # what gradients are clipped to


def loss_of(options):
    loss = LOSSES[options['type']]
    return lambda a, b: options['loss_weight'] * loss(a, b)


class Trainer:
    """Trains networks as an option file's train section says, beginning with the first iteration.

    trained names the networks that are optimised, in the optimizer's order. Stage one trains net_le with the
    Transformer; stage two freezes it, and trains the diffusion to give what it gives.
    """

    def __init__(self, networks, train, trained):
        self.networks = networks
        self.stage = 1 if 'net_le' in trained else 2
        self.pixel = loss_of(train['pixel_opt'])
        self.pixel_diff = loss_of(train['pixel_diff_opt'])
        self.clip = train['use_grad_clip']
        self.parameters = [p for net in trained for p in getattr(networks, net).parameters()]
        networks.net_le.requires_grad_(self.stage == 1)
        optim = dict(train['optim_total'])
        self.optimizer = getattr(torch.optim, optim.pop('type'))(self.parameters, **optim)

    def losses(self, lq, gt, noise=None):
        """l_pix, and in stage two l_pix_diff. lq and gt are [B, 3, H, W], noise [B, N, 4e]."""
        n = self.networks
        z = n.net_le(lq, gt)
        if self.stage == 1:
            return {'l_pix': self.pixel(n.net_g(lq, z), gt)}
        prior = n.diffusion.sample(n.net_d, n.diffusion.noised(z, noise), n.net_le_dm(lq))
        return {'l_pix': self.pixel(n.net_g(lq, prior), gt), 'l_pix_diff': self.pixel_diff(z, prior)}

    def step(self, lq, gt, noise, lr):
        """One iteration. It returns the losses and the norm of all gradients before they were clipped."""
        for group in self.optimizer.param_groups:
            group['lr'] = lr
        self.optimizer.zero_grad()
        losses = self.losses(lq, gt, noise)
        sum(losses.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM if self.clip else float('inf'))
        self.optimizer.step()
        return losses, norm
