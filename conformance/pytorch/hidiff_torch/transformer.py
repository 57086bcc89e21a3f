"""net_g: the Transformer with hierarchical integration of the prior (sections 3.1 and 3.3)."""

import torch
import torch.nn.functional as F
from torch import nn

from . import ops


class LayerNorm(nn.Module):
    """LayerNorm over the last dimension, WithBias or BiasFree."""

    def __init__(self, dim, kind):
        super().__init__()
        self.body = nn.Module()  # gives the keys their ".body"
        self.body.weight = nn.Parameter(torch.ones(dim))
        self.body.bias = nn.Parameter(torch.zeros(dim)) if kind == 'WithBias' else None

    def forward(self, x):
        weight, bias = self.body.weight, self.body.bias
        if bias is None:
            return ops.layernorm_biasfree(x, weight)
        return F.layer_norm(x, weight.shape, weight, bias)


class PixelNorm(LayerNorm):
    """LayerNorm over the channels of every pixel. [B, C, H, W]."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class Modulated(nn.Module):
    """What attention and feed-forward share at the latent level, where group is 1: x · ln1(prior) + ln2(prior)."""

    def add_modulation(self, dim, embed_dim, group):
        self.modulated = group == 1
        if self.modulated:
            self.ln1 = nn.Linear(4 * embed_dim, dim)
            self.ln2 = nn.Linear(4 * embed_dim, dim)

    def modulate(self, x, prior):
        """x [B, C, H, W], prior [B, 4e]."""
        if not self.modulated or prior is None:
            return x
        return ops.scale_shift_channel(x, self.ln1(prior), self.ln2(prior))


class Attention(Modulated):
    """Multi-Dconv head transposed attention (MDTA, of Restormer): channels attend to channels. [B, C, H, W]."""

    def __init__(self, dim, num_heads, bias, embed_dim, group):
        super().__init__()
        self.num_heads = num_heads
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)
        self.add_modulation(dim, embed_dim, group)

    def forward(self, x, prior=None):
        b, c, h, w = x.shape
        qkv = self.qkv_dwconv(self.qkv(self.modulate(x, prior)))
        q, k, v = (t.reshape(b, self.num_heads, c // self.num_heads, h * w) for t in qkv.chunk(3, 1))
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature
        return self.project_out((scores.softmax(-1) @ v).reshape(b, c, h, w))


class FeedForward(Modulated):
    """Gated-Dconv feed-forward network (GDFN, of Restormer). [B, C, H, W]."""

    def __init__(self, dim, ffn_expansion_factor, bias, embed_dim, group):
        super().__init__()
        hidden = int(dim * ffn_expansion_factor)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)
        self.add_modulation(dim, embed_dim, group)

    def forward(self, x, prior=None):
        return self.project_out(ops.gelu_gate(self.dwconv(self.project_in(self.modulate(x, prior)))))


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, both on normed input and with a residual. [B, C, H, W]."""

    def __init__(self, dim, num_heads, ffn_expansion_factor, bias, LayerNorm_type, embed_dim, group):
        super().__init__()
        self.norm1 = PixelNorm(dim, LayerNorm_type)
        self.attn = Attention(dim, num_heads, bias, embed_dim, group)
        self.norm2 = PixelNorm(dim, LayerNorm_type)
        self.ffn = FeedForward(dim, ffn_expansion_factor, bias, embed_dim, group)

    def forward(self, x, prior=None):
        x = x + self.attn(self.norm1(x), prior)
        return x + self.ffn(self.norm2(x), prior)


class HIM(nn.Module):
    """Hierarchical integration module: pixels attend to the tokens of the prior. x [B, C, H, W], prior [B, N, 4e]."""

    def __init__(self, dim, num_heads, bias, embed_dim, LayerNorm_type):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = LayerNorm(dim, LayerNorm_type)
        self.norm2 = LayerNorm(4 * embed_dim, LayerNorm_type)
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(4 * embed_dim, 2 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, prior):
        b, c, h, w = x.shape
        pixels = x.flatten(2).mT
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                   for t in (self.q(self.norm1(pixels)), *self.kv(self.norm2(prior)).chunk(2, -1)))
        weights = (q @ k.mT * (c // self.num_heads) ** -0.5).softmax(-1)
        pixels = pixels + self.proj((weights @ v).transpose(1, 2).flatten(2))
        return pixels.mT.reshape(b, c, h, w)


class BasicLayer(nn.Module):
    """Blocks of one level. Above the latent level a HIM brings in the prior once, before them."""

    def __init__(self, dim, num_heads, ffn_expansion_factor, bias, LayerNorm_type, embed_dim, group, num_blocks):
        super().__init__()
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, num_heads, ffn_expansion_factor, bias, LayerNorm_type, embed_dim, group) for _ in range(num_blocks))
        self.him = HIM(dim, num_heads, bias, embed_dim, LayerNorm_type) if group > 1 else None

    def forward(self, x, prior=None):
        if self.him is not None and prior is not None:
            x, prior = self.him(x, prior), None
        for block in self.blocks:
            x = block(x, prior)
        return x


class Downsample(nn.Module):
    """[B, C, H, W] to [B, 2C, H/2, W/2]."""

    def __init__(self, n_feat):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(n_feat, n_feat // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))

    def forward(self, x):
        return self.body(x)


class Upsample(nn.Module):
    """[B, C, H, W] to [B, C/2, 2H, 2W]."""

    def __init__(self, n_feat):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(n_feat, 2 * n_feat, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, x):
        return self.body(x)


class Transpose(nn.Module):
    """[B, M, N] to [B, N, M]."""

    def forward(self, x):
        return x.mT


def shrink(tokens, to, width):
    """A level of the prior pyramid (section 3.3): [B, tokens, width] to [B, to, width]."""
    return nn.Sequential(Transpose(), nn.Linear(tokens, to), Transpose(), nn.Linear(width, width))


class Transformer(nn.Module):
    """The blurry image [B, 3, H, W], H and W multiples of 8, and the prior [B, group², 4e], to the sharp image."""

    def __init__(self, inp_channels=3, out_channels=3, dim=48, num_blocks=(4, 6, 6, 8), num_refinement_blocks=4, heads=(1, 2, 4, 8),
                 ffn_expansion_factor=2.66, bias=False, LayerNorm_type='WithBias', dual_pixel_task=False, embed_dim=48, group=4):
        super().__init__()
        tokens = group * group
        self.down_1 = shrink(tokens, tokens // 4, 4 * embed_dim)
        self.down_2 = shrink(tokens // 4, 1, 4 * embed_dim)

        def layer(dim, level, group, blocks):
            return BasicLayer(dim, heads[level], ffn_expansion_factor, bias, LayerNorm_type, embed_dim, group, blocks)

        self.patch_embed = nn.Module()  # gives its key the ".proj"
        self.patch_embed.proj = nn.Conv2d(inp_channels, dim, 3, padding=1, bias=bias)
        self.encoder_level1 = layer(dim, 0, group, num_blocks[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = layer(2 * dim, 1, group // 2, num_blocks[1])
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = layer(4 * dim, 2, group // 2, num_blocks[2])
        self.down3_4 = Downsample(4 * dim)
        self.latent = layer(8 * dim, 3, 1, num_blocks[3])
        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = layer(4 * dim, 2, group // 2, num_blocks[2])
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = layer(2 * dim, 1, group // 2, num_blocks[1])
        self.up2_1 = Upsample(2 * dim)
        self.decoder_level1 = layer(2 * dim, 0, group, num_blocks[0])
        self.refinement = layer(2 * dim, 0, group, num_refinement_blocks)
        self.skip_conv = nn.Conv2d(dim, 2 * dim, 1, bias=bias) if dual_pixel_task else None
        self.output = nn.Conv2d(2 * dim, out_channels, 3, padding=1, bias=bias)

    def forward(self, image, prior):
        z1 = prior
        z2 = self.down_1(z1)
        z3 = self.down_2(z2).flatten(1)

        embedded = self.patch_embed.proj(image)
        enc1 = self.encoder_level1(embedded, z1)
        enc2 = self.encoder_level2(self.down1_2(enc1), z2)
        enc3 = self.encoder_level3(self.down2_3(enc2), z2)
        x = self.latent(self.down3_4(enc3), z3)

        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), enc3], 1)), z2)
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), enc2], 1)), z2)
        x = self.decoder_level1(torch.cat([self.up2_1(x), enc1], 1), z1)
        x = self.refinement(x, z1)
        if self.skip_conv is not None:
            return self.output(x + self.skip_conv(embedded))
        return self.output(x) + image
