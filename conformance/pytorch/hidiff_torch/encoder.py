"""net_le and net_le_dm: the latent encoders, which squeeze images into the prior (section 3.2)."""

import torch
from torch import nn


class MLP(nn.Module):
    """A mixer: tokens mix, then channels, both on normed input and with a residual. [B, N, C]."""

    def __init__(self, tokens, channels, patch_expansion, channel_expansion):
        super().__init__()
        hidden, wide = int(patch_expansion * tokens), int(channel_expansion * channels)
        self.patch_mixer = nn.Sequential(nn.Linear(tokens, hidden), nn.GELU(), nn.Linear(hidden, tokens))
        self.channel_mixer = nn.Sequential(nn.Linear(channels, wide), nn.GELU(), nn.Linear(wide, channels))
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, x):
        x = x + self.patch_mixer(self.norm1(x).mT).mT
        return x + self.channel_mixer(self.norm2(x))


def conv3x3(cin, cout):
    return nn.Conv2d(cin, cout, 3, padding=1)


class LatentEncoder(nn.Module):
    """Images [B, 3, H, W], H and W multiples of 4, to the prior [B, group², 4e]. A subclass says how channels widen."""

    def __init__(self, in_chans, embed_dim, block_num, group, patch_expansion, channel_expansion, stage=None):
        super().__init__()  # stage is told by in_chans: the sharp image is seen in stage one alone
        act, widths = self.act, self.widths(embed_dim)
        self.conv1 = nn.Sequential(conv3x3(16 * in_chans, embed_dim), act)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv3x3(embed_dim, embed_dim), act, conv3x3(embed_dim, embed_dim)) for _ in range(block_num))
        self.conv2 = self.last(widths)
        self.mlp = MLP(group * group, widths[-1], patch_expansion, channel_expansion)
        self.end = nn.Sequential(nn.Linear(widths[-1], 4 * embed_dim), act)
        self.pool = nn.AdaptiveAvgPool2d(group)

    def forward(self, inp_img, gt=None):
        x = inp_img if gt is None else torch.cat([gt, inp_img], 1)
        x = self.conv1(nn.functional.pixel_unshuffle(x, 4))
        for block in self.blocks:
            x = block(x) + x
        return self.end(self.mlp(self.pool(self.conv2(x)).flatten(2).mT))


class LatentEncoderGELU(LatentEncoder):
    """latent_encoder_gelu, of GoPro."""

    act = nn.GELU()

    def widths(self, e):
        return [e, e]

    def last(self, widths):
        return conv3x3(*widths)


class LatentEncoderLReLU(LatentEncoder):
    """latent_encoder_lrelu, of RealBlur."""

    act = nn.LeakyReLU(0.1)

    def widths(self, e):
        return [e, 2 * e, 2 * e, 4 * e]

    def last(self, widths):
        return nn.Sequential(*(m for pair in zip(widths, widths[1:]) for m in (conv3x3(*pair), self.act)))
