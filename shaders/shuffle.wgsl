// shuffle: pixel shuffle and unshuffle, the latter of a concatenation.
//          PyTorch: F.pixel_shuffle(x, r), F.pixel_unshuffle(x, r)
//   shuffle    x [rows, W, C*r*r] -> y [rows*r, W*r, C]
//   unshuffle  x [rows*r, W*r, C] -> y [rows, W, ...], as channels at..at+C*r*r
//   with packed channel c*r*r + i*r + j <-> channel c of sub-pixel (i, j)
// Rows are rows of a batch of images, counted through. An unshuffle by 1 is a
// concatenation. One invocation writes one float.

// import: layout

struct Params {
    width: u32,      // W of the packed side
    r: u32,
    channels: u32,   // C
    xs: u32,         // stored channels of a pixel of x
    ys: u32,         // and of y
    at: u32,         // unshuffle: first channel written in each pixel of y
    count: u32,      // and how many, of both inputs; past theirs is padding
    total: u32,      // floats to write
    x0: u32,         // in floats
    y0: u32,
    second: u32,     // unshuffle: the second input's C, 0 if there is none
    ss: u32,         // stored channels of a pixel of it
    s0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@group(0) @binding(2) var<storage, read> x2: array<f32>;
@group(0) @binding(3) var<storage, read_write> joined: array<f32>;

@compute @workgroup_size(64)
fn shuffle(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let c = i % params.ys;
    let column = i / params.ys % (params.width * params.r);
    let row = i / params.ys / (params.width * params.r);
    var v = 0.0;
    if (c < params.channels) {
        let pixel = row / params.r * params.width + column / params.r;
        v = x[params.x0 + pixel * params.xs + (c * params.r + row % params.r) * params.r + column % params.r];
    }
    y[params.y0 + i] = v;
}

@compute @workgroup_size(64)
fn unshuffle(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let k = i % params.count;
    let pixel = i / params.count;
    let c = k / (params.r * params.r);
    var v = 0.0;
    let row = pixel / params.width * params.r + k / params.r % params.r;
    let column = pixel % params.width * params.r + k % params.r;
    let source = row * params.width * params.r + column;
    if (c < params.channels) {
        v = x[params.x0 + source * params.xs + c];
    } else if (c < params.channels + params.second) {
        v = x2[params.s0 + source * params.ss + c - params.channels];
    }
    joined[params.y0 + pixel * params.ys + params.at + k] = v;
}
