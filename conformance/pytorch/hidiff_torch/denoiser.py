"""net_d: the networks that the diffusion calls at every step (section 3.2). Tokens are [B, N, 4e]."""

import torch
from torch import nn

from .encoder import MLP


class Denoising(nn.Module):
    """denoising, of GoPro. It predicts the noise in x at the given time, seeing the condition c."""

    def __init__(self, in_channel, out_channel, inner_channel, block_num, group, patch_expansion, channel_expansion, layerscale_value=1e-3):
        super().__init__()
        self.time_mlp = nn.Parameter(torch.full((1,), layerscale_value))
        self.first_layer = nn.Sequential(nn.Linear(3 * in_channel, inner_channel), nn.LeakyReLU(0.2))
        self.blocks = nn.ModuleList(
            nn.Sequential(MLP(group * group, inner_channel, patch_expansion, channel_expansion), nn.GELU()) for _ in range(block_num - 2))
        self.final_layer = nn.Sequential(nn.Linear(inner_channel, out_channel), nn.GELU())

    def forward(self, x, time, c):
        t = torch.full_like(x, time) * self.time_mlp
        y = self.first_layer(torch.cat([x, t, c], -1))
        for block in self.blocks:
            y = block(y)
        return self.final_layer(y)


class ResMLP(nn.Module):
    """A linear map and an activation. The released code names it so, and adds no residual."""

    def __init__(self, width):
        super().__init__()
        self.resmlp = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1))

    def forward(self, x):
        return self.resmlp(x)


class SimpleDenoise(nn.Module):
    """simple_denoise, of RealBlur. It predicts the clean prior from x at the given time, seeing the condition c."""

    def __init__(self, n_feats, n_denoise_res, timesteps=5):
        super().__init__()
        self.max_period = 10 * timesteps
        width = 4 * n_feats
        self.resmlp = nn.Sequential(nn.Linear(2 * width + 1, width), nn.LeakyReLU(0.1), *(ResMLP(width) for _ in range(n_denoise_res)))

    def forward(self, x, time, c):
        t = torch.full_like(x[..., :1], time / self.max_period)
        return self.resmlp(torch.cat([c, t, x], -1))
