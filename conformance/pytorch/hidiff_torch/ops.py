"""The operators of the fixtures, by the name that a fixture's metadata has."""

import torch
import torch.nn.functional as F


def layernorm_channel(x, w, b, eps=1e-5):
    """LayerNorm over the channels of every pixel. x [B, C, H, W], w and b [C]."""
    return F.layer_norm(x.permute(0, 2, 3, 1), w.shape, w, b, eps).permute(0, 3, 1, 2)


def layernorm_biasfree(x, w, eps=1e-5):
    """Restormer's BiasFree norm over the last dimension: the variance is about the mean, which is not subtracted."""
    return x / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + eps) * w


def layernorm_channel_biasfree(x, w, eps=1e-5):
    """BiasFree norm over the channels of every pixel. x [B, C, H, W], w [C]."""
    return layernorm_biasfree(x.permute(0, 2, 3, 1), w, eps).permute(0, 3, 1, 2)


def gelu_gate(x):
    """gelu(x1) · x2, where x1 and x2 are the halves of x's channels. [B, 2C, …] to [B, C, …]."""
    x1, x2 = x.chunk(2, 1)
    return F.gelu(x1) * x2


def charbonnier_loss(a, b, eps=1e-12):
    return torch.sqrt((a - b) ** 2 + eps).mean()


def scale_shift_channel(x, k, s):
    """x · k + s for every channel. x [B, C, H, W], k and s [B, C]."""
    return x * k[:, :, None, None] + s[:, :, None, None]


def reflect_pad_right_bottom(x, right, bottom):
    return F.pad(x, (0, int(right), 0, int(bottom)), mode='reflect')


OPS = {
    'adaptive_avg_pool': lambda x, out: F.adaptive_avg_pool2d(x, int(out)),
    'add': lambda a, b: a + b,
    'charbonnier_loss': charbonnier_loss,
    'clamp': lambda x, lo, hi: x.clamp(lo, hi),
    'concat_channel': lambda a, b: torch.cat([a, b], 1),
    'conv1x1': lambda x, w, b=None: F.conv2d(x, w, b),
    'conv3x3': lambda x, w, b=None: F.conv2d(x, w, b, padding=1),
    'dwconv3x3': lambda x, w, b=None: F.conv2d(x, w, b, padding=1, groups=x.shape[1]),
    'gelu': lambda x: F.gelu(x),
    'gelu_gate': gelu_gate,
    'l1_loss': lambda a, b: F.l1_loss(a, b),
    'l2_normalize': lambda x, eps: F.normalize(x, dim=-1, eps=eps),
    'layernorm_channel': layernorm_channel,
    'layernorm_channel_biasfree': layernorm_channel_biasfree,
    'layernorm_last': lambda x, w, b, eps: F.layer_norm(x, w.shape, w, b, eps),
    'leaky_relu': lambda x, slope: F.leaky_relu(x, slope),
    'linear': lambda x, w, b=None: F.linear(x, w, b),
    'matmul_nn': lambda a, b: a @ b,
    'matmul_nt': lambda a, b: a @ b.mT,
    'matmul_tn': lambda a, b: a.mT @ b,
    'mean': lambda x: x.mean(),
    'mse_loss': lambda a, b: F.mse_loss(a, b),
    'mul': lambda a, b: a * b,
    'pixel_shuffle': lambda x, r: F.pixel_shuffle(x, int(r)),
    'pixel_unshuffle': lambda x, r: F.pixel_unshuffle(x, int(r)),
    'reflect_pad_right_bottom': reflect_pad_right_bottom,
    'scale_shift_channel': scale_shift_channel,
    'softmax': lambda x: x.softmax(-1),
}
