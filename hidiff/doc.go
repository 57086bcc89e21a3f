// Package hidiff removes blur from photos with HI-Diff (Chen et al., NeurIPS
// 2023, arXiv:2305.12966): a Transformer guided by a prior that a small latent
// diffusion model makes of the blurry photo. All of it runs in compute shaders,
// on any GPU with Vulkan, Metal or DirectX 12, or on a CPU through a software
// Vulkan driver.
//
// [Open] loads weights and prepares them on a GPU; [Model.Deblur] restores an
// image, [Model.Restore] a photo with its metadata, depth and transparency.
// The result is the whole-image one whatever the memory: operators run in
// bands of rows, and [Model.Plan] tells which, and what they take, beforehand.
package hidiff
