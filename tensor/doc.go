// Package tensor holds shaped data on a device and the operators of HI-Diff,
// each a Go file beside its WGSL shader.
//
// Everything is channels-last: images are [N, H, W, C], tokens [N, L, C], in
// the same bytes. Channels are stored in equal parts, each padded with zeros
// to a multiple of four, so that kernels load four at a time; operators keep
// the padding zero.
//
// Misuse (shapes that do not fit) and lack of memory panic with a typed error;
// entry points of higher packages recover it once, with [Catch]. Failures of
// the GPU stick to the device and come back from [Tensor.Floats] or
// [wgpu.Device.Flush].
package tensor
