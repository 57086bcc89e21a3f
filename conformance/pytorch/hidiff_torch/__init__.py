"""HI-Diff in PyTorch: small, plain, and written for this project.

Hierarchical Integration Diffusion Model for Realistic Image Deblurring (Chen et al., NeurIPS 2023).
Sections below are the paper's. Images are [B, C, H, W] and tokens [B, N, C]. Keys and shapes of every
state_dict, and the order of parameters, are those of the released checkpoints.

transformer  the Transformer that restores the image (net_g)
encoder      the latent encoders that make the prior (net_le, net_le_dm)
denoiser     the networks that the diffusion calls (net_d)
diffusion    schedules of noise, and the sampler
training     losses and one iteration of either stage
schedules    learning rates by iteration
networks     all networks of one configuration, and weights made from their names
ops          the operators that the fixtures test one by one
"""
