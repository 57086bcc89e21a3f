"""All networks of one configuration, and weights made from their names."""

import math

import numpy as np
import torch
from torch import nn

from .denoiser import Denoising, SimpleDenoise
from .diffusion import Diffusion
from .encoder import LatentEncoderGELU, LatentEncoderLReLU
from .transformer import HIM, Attention, BasicLayer, Downsample, FeedForward, Transformer, TransformerBlock, Upsample

# By the names of the released code, which option files and fixtures use.
MODULES = {
    'Attention': Attention,
    'BasicLayer': BasicLayer,
    'Downsample': Downsample,
    'FeedForward': FeedForward,
    'HIM': HIM,
    'Transformer': Transformer,
    'TransformerBlock': TransformerBlock,
    'Upsample': Upsample,
    'denoising': Denoising,
    'latent_encoder_gelu': LatentEncoderGELU,
    'latent_encoder_lrelu': LatentEncoderLReLU,
    'simple_denoise': SimpleDenoise,
}

NETS = ('net_g', 'net_le', 'net_le_dm', 'net_d')


class Networks(nn.Module):
    """The networks of a configuration as fixtures write it: g, le, d and diff, each with its options."""

    def __init__(self, config):
        super().__init__()
        (encoder, encoder_options), (denoiser, denoiser_options) = config['le'], config['d']
        self.net_g = Transformer(**config['g'])
        self.net_le = MODULES[encoder](in_chans=6, **encoder_options)
        self.net_le_dm = MODULES[encoder](in_chans=3, **encoder_options)
        self.net_d = MODULES[denoiser](**denoiser_options)
        self.diffusion = Diffusion(**config['diff'])

    def nets(self):
        return {name: getattr(self, name) for name in NETS}

    def fill(self, prefix):
        """Gives every parameter the values that follow from its name."""
        with torch.no_grad():
            for name, net in self.nets().items():
                for key, parameter in net.named_parameters():
                    parameter.copy_(filled(prefix, name, key, parameter.shape))
        return self

    def forward(self, lq, noise):
        """What deblurring computes: the blurry image [B, 3, H, W] and noise [B, N, 4e], to the sharp image."""
        return self.net_g(lq, self.diffusion.sample(self.net_d, noise, self.net_le_dm(lq)))


def uniform(name, n):
    """The first n draws of the stream of that name, in [−1, 1), as float64 (see ../testdata/README.md)."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(state) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1


def scale_and_offset(key, shape):
    """How a draw becomes a parameter's value."""
    if key.endswith('temperature'):
        return 0.3, 1
    if key.endswith('time_mlp'):
        return 0, 0.01
    if key.endswith('weight') and len(shape) == 1:
        return 0.2, 1
    if key.endswith('bias'):
        return 0.05, 0
    return math.sqrt(3 / math.prod(shape[1:])), 0


def filled(prefix, net, key, shape):
    """The values of one parameter, rounded to float32."""
    scale, offset = scale_and_offset(key, shape)
    values = uniform(f'{prefix}/{net}/{key}', math.prod(shape)) * scale + offset
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)
