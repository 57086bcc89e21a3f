// photo: integer samples to images of floats and back, and reflection padding.
//   samples: two of 16 bits to a word, [rows, W, channels]
//   from_pixels  y [rows, W', 3] = samples / max, mirrored to the right of W; grey becomes r = g = b
//   to_pixels    samples [rows, W, channels] = round(clamp(x, 0, 1) * max), halves to even;
//                grey is 0.299 r + 0.587 g + 0.114 b (ITU-R BT.601)
//   reflect_pad  y [H', W', C] = x, mirrored past H and W.   PyTorch: F.pad(x, ..., "reflect")
//                and its gradient
// Mirroring does not repeat the last pixel, and goes back and forth where the
// padding is wider than the image.

// import: layout

struct Params {
    rows: u32,
    width: u32,        // of a row without padding
    padded: u32,       // of a row with it
    channels: u32,     // of a pixel: samples, or stored channels in vec4
    height: u32,       // reflect_pad: rows without padding
    x0: u32,           // in vec4
    y0: u32,
    max: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

// mirror folds i back into 0..n-1 at 0 and n-1, as often as needed.
fn mirror(i: u32, n: u32) -> u32 {
    let period = max(2u * (n - 1u), 1u);
    return min(i % period, period - i % period);
}

fn sample(i: u32) -> f32 { return f32((packed[i / 2u] >> (16u * (i % 2u))) & 0xffffu) / params.max; }

@compute @workgroup_size(64)
fn from_pixels(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.rows * params.padded) { return; }
    let source = (i / params.padded * params.width + mirror(i % params.padded, params.width)) * params.channels;
    var v = vec3f(sample(source));
    if (params.channels == 3u) { v = vec3f(v.x, sample(source + 1u), sample(source + 2u)); }
    y[params.y0 + i] = vec4f(v, 0.0);
}

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> samples: array<u32>;
@group(0) @binding(3) var<storage, read_write> broken: atomic<u32>;  // not zero if x holds a NaN or an infinity

fn level(i: u32) -> u32 {
    let pixel = i / params.channels;
    let v = x[params.x0 + pixel / params.width * params.padded + pixel % params.width].xyz;
    if (any((bitcast<vec3u>(v) & vec3u(0x7f800000u)) == vec3u(0x7f800000u))) { atomicOr(&broken, 1u); }
    var s = dot(v, vec3f(0.299, 0.587, 0.114));
    if (params.channels == 3u) { s = v[i % 3u]; }
    return u32(round(clamp(s, 0.0, 1.0) * params.max));
}

// One invocation writes one word: two samples.
@compute @workgroup_size(64)
fn to_pixels(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = 2u * (number(group) * 64u + lane);
    let total = params.rows * params.width * params.channels;
    if (i >= total) { return; }
    var word = level(i);
    if (i + 1u < total) { word |= level(i + 1u) << 16u; }
    samples[i / 2u] = word;
}

@compute @workgroup_size(64)
fn reflect_pad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.rows * params.padded * params.channels) { return; }
    let c = i % params.channels;
    let column = mirror(i / params.channels % params.padded, params.width);
    let row = mirror(i / params.channels / params.padded, params.height);
    y[params.y0 + i] = x[params.x0 + (row * params.width + column) * params.channels + c];
}

// reflect_pad_gradient sums dy over all places that a pixel was mirrored to:
// i and -i, and what lies whole periods from them. x is dy, y is dx.
@compute @workgroup_size(64)
fn reflect_pad_gradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.height * params.width * params.channels) { return; }
    let c = i % params.channels;
    let column = i / params.channels % params.width;
    let row = i / params.channels / params.width;
    var sum = vec4f();
    for (var r = row; r < params.rows; r = next_image(r, row, params.height)) {
        for (var q = column; q < params.padded; q = next_image(q, column, params.width)) {
            sum += x[params.x0 + (r * params.padded + q) * params.channels + c];
        }
    }
    y[params.y0 + i] = sum;
}

// next_image returns the first place after at that mirrors to i of 0..n-1.
fn next_image(at: u32, i: u32, n: u32) -> u32 {
    let period = max(2u * (n - 1u), 1u);
    let back = period - i;  // the image of -i
    if (at % period == i && i != 0u && back != i) { return at - i + back; }
    return at - at % period + period + i;
}
