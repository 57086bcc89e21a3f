// Package wgpu is hidiff's thin layer over WebGPU: it picks an adapter, opens
// a device with every limit raised, and runs compute kernels on pooled buffers.
// It is the only package that imports the WebGPU binding and it knows no
// operator.
//
// A [Device] is one in-order stream, like CUDA's default stream: dispatches,
// copies and uploads take effect in the order they were issued, from whichever
// goroutine. That is why a [Buffer] may be released as soon as the last
// dispatch using it has been issued, and why the pool may hand it out again at
// once.
//
// GPU failures stick to the device: after the first one every call is a no-op
// and [Device.Flush], [Device.Read] and [Device.Err] return it. Only
// allocation can fail at the call itself, because a caller can act on it (with
// smaller bands). One failure is out of reach: a device that is lost while
// wgpu-native waits for it makes that end the process.
package wgpu
