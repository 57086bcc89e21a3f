// pool: adaptive average pooling of images to a square.
//       PyTorch: F.adaptive_avg_pool2d(x, out)
//   x [N, H, W, C]   sums [N, H, out, C]   y [N, out, out, C]
//   window i of n covers floor(i * size / n) to ceil((i + 1) * size / n) - 1
// First along rows, then down columns: two passes with many invocations each,
// and the order of summation is fixed. Sums are taken in short runs, so that
// rounding grows with the runs and not with the image.
// Backward, a pixel sums dy / pixels over the windows it is in: pixel i of size
// is in windows floor(i * n / size) to ceil((i + 1) * n / size) - 1.

// import: layout

struct Params {
    rows: u32,     // H, or for the first pass rows of all images of the band
    width: u32,    // W
    out: u32,
    channels: u32, // stored, in vec4
    images: u32,
    x0: u32,       // in vec4, of what is read
    y0: u32,       // and of what is written
    first: u32,    // backward: first row of the band, counted through all images
    total: u32,    // and vec4 to write
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

const RUN: u32 = 32;

fn window_start(i: u32, size: u32) -> u32 { return i * size / params.out; }
fn window_end(i: u32, size: u32) -> u32 { return ((i + 1u) * size + params.out - 1u) / params.out; }

fn sum_of(first: u32, count: u32, stride: u32) -> vec4f {
    var total = vec4f();
    for (var i = 0u; i < count; i += RUN) {
        var run = vec4f();
        for (var j = i; j < min(i + RUN, count); j++) { run += x[first + j * stride]; }
        total += run;
    }
    return total;
}

// One invocation sums four channels of one row's window.
@compute @workgroup_size(64)
fn across(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.rows * params.out * params.channels) { return; }
    let c = i % params.channels;
    let window = i / params.channels % params.out;
    let row = i / params.channels / params.out;
    let start = window_start(window, params.width);
    let first = params.x0 + (row * params.width + start) * params.channels + c;
    y[params.y0 + i] = sum_of(first, window_end(window, params.width) - start, params.channels);
}

// One invocation sums four channels of one window, and divides.
@compute @workgroup_size(64)
fn down(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    let stride = params.out * params.channels;
    if (i >= params.images * params.out * stride) { return; }
    let window = i / stride % params.out;
    let column = i / params.channels % params.out;
    let start = window_start(window, params.rows);
    let count = window_end(window, params.rows) - start;
    let first = params.x0 + (i / stride / params.out * params.rows + start) * stride + i % stride;
    let pixels = count * (window_end(column, params.width) - window_start(column, params.width));
    y[params.y0 + i] = sum_of(first, count, stride) / f32(pixels);
}

@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;

// One invocation computes four channels of one pixel of the band.
@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let c = i % params.channels;
    let column = i / params.channels % params.width;
    let row = params.first + i / params.channels / params.width;
    let image = row / params.rows;
    let y_in = row % params.rows;
    var sum = vec4f();
    for (var v = y_in * params.out / params.rows; v * params.rows < (y_in + 1u) * params.out; v++) {
        let height = window_end(v, params.rows) - window_start(v, params.rows);
        for (var h = column * params.out / params.width; h * params.width < (column + 1u) * params.out; h++) {
            let pixels = height * (window_end(h, params.width) - window_start(h, params.width));
            sum += dy[params.x0 + ((image * params.out + v) * params.out + h) * params.channels + c] / f32(pixels);
        }
    }
    dx[params.y0 + i] = sum;
}
