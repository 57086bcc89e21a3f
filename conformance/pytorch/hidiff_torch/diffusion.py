"""The diffusion of the prior (section 3.2): schedules of noise, and the sampler, which adds no noise on its way."""

import numpy as np
import torch
from torch import nn


def warmup(start, end, steps, part):
    """Rises from start to end within a part of all steps, and stays there."""
    betas = np.full(steps, end, np.float64)
    rise = int(steps * part)
    betas[:rise] = np.linspace(start, end, rise)
    return betas


def cosine(start, end, steps):
    """Nichol and Dhariwal (2021)."""
    t = np.arange(steps + 1) / steps
    alphas = np.cos((t + 8e-3) / 1.008 * np.pi / 2) ** 2
    return np.clip(1 - alphas[1:] / alphas[:-1], 0, 0.999)


def roots(start, end, steps):
    return np.linspace(start ** 0.5, end ** 0.5, steps) ** 2


# Of SR3, for the sampler that predicts noise.
NOISE_BETAS = {
    'linear': np.linspace,
    'quad': roots,
    'warmup10': lambda a, b, n: warmup(a, b, n, 0.1),
    'warmup50': lambda a, b, n: warmup(a, b, n, 0.5),
    'const': lambda a, b, n: np.full(n, b),
    'jsd': lambda a, b, n: 1 / np.linspace(n, 1, n),
    'cosine': cosine,
}
# Of latent diffusion (apply_ldm), for the sampler that predicts the prior.
LATENT_BETAS = {
    'linear': roots,
    'cosine': cosine,
    'sqrt_linear': np.linspace,
    'sqrt': lambda a, b, n: np.linspace(a, b, n) ** 0.5,
}


class Diffusion(nn.Module):
    """The constants of steps 0 … T−1, computed in float64 and rounded to float32 once, and the sampler over them."""

    def __init__(self, apply_ldm, schedule, timesteps, linear_start, linear_end):
        super().__init__()
        self.apply_ldm, self.timesteps = apply_ldm, timesteps
        betas = (LATENT_BETAS if apply_ldm else NOISE_BETAS)[schedule](linear_start, linear_end, timesteps)
        alphas = 1 - betas
        cumprod = np.cumprod(alphas)
        previous = np.append(1.0, cumprod[:-1])
        variance = betas * (1 - previous) / (1 - cumprod)
        for name, values in {
            'betas': betas,
            'alphas_cumprod': cumprod,
            'alphas_cumprod_prev': previous,
            'sqrt_alphas_cumprod': np.sqrt(cumprod),
            'sqrt_one_minus_alphas_cumprod': np.sqrt(1 - cumprod),
            'log_one_minus_alphas_cumprod': np.log(1 - cumprod),
            'sqrt_recip_alphas_cumprod': np.sqrt(1 / cumprod),
            'sqrt_recipm1_alphas_cumprod': np.sqrt(1 / cumprod - 1),
            'posterior_variance': variance,
            'posterior_log_variance_clipped': np.log(np.maximum(variance, 1e-20)),
            'posterior_mean_coef1': betas * np.sqrt(previous) / (1 - cumprod),
            'posterior_mean_coef2': (1 - previous) * np.sqrt(alphas) / (1 - cumprod),
        }.items():
            self.register_buffer(name, torch.from_numpy(values).float())

    def sample(self, denoiser, noise, condition):
        """From noise to a prior, through all steps. Both, and the condition, are [B, N, 4e]."""
        x = noise
        for t in reversed(range(self.timesteps)):
            if self.apply_ldm:
                clean = denoiser(x, t, condition)
            else:
                predicted = denoiser(x, t + 1, condition)
                clean = (x * self.sqrt_recip_alphas_cumprod[t] - predicted * self.sqrt_recipm1_alphas_cumprod[t]).clamp(-1, 1)
            x = self.posterior_mean_coef1[t] * clean + self.posterior_mean_coef2[t] * x
        return x

    def noised(self, prior, noise):
        """Where training starts to sample: the prior with the noise of all steps. Both are [B, N, 4e].

        Without apply_ldm the released code takes ᾱ for √ᾱ, and its checkpoints were trained so.
        """
        alpha = self.alphas_cumprod[-1]
        if self.apply_ldm:
            return alpha.sqrt() * prior + (1 - alpha).sqrt() * noise
        return alpha * prior + (1 - alpha ** 2).sqrt() * noise
