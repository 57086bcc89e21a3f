// tokens: linear maps over the token axis of [N, L, C].
//   mix    y[n,m,:] = act(sum_l w[m,l] x[n,l,:] + b[m]) + residual[n,m,:]
//          PyTorch: F.linear(x.transpose(1, 2), w, b).transpose(1, 2)
//          transposed, as for the gradient of x, w is [L, M]: w[l,m] x[n,l,:]
//   mix_weights  the gradients of w and b for dy, that of the sums:
//          dw[m,l] += sum of dy[n,m,:] x[n,l,:]    db[m] += sum of dy[n,m,:]
//   mixer  y = x + mix(gelu(mix(LayerNorm(x), w1, b1)), w2, b2)
//          HI-Diff: the patch_mixer half of MLP, with its norm1
// One invocation computes four channels of all tokens (mixer) or of one (mix),
// sixteen compute a weight's gradient.

// import: activation
// import: layout
// import: rows

struct Params {
    total: u32,     // mix: vec4 to write
    images: u32,    // mix_weights: N
    tokens: u32,    // L
    outputs: u32,   // M: tokens out, or hidden ones
    channels: u32,
    width: u32,     // of a stored row, in vec4
    x0: u32,        // in vec4
    r0: u32,        // of residual
    dy0: u32,
    y0: u32,
    eps: f32,
    slope: f32,
}

const ACT: ActKind = ACT_NONE;
const BIASED: bool = false;
const RESIDUAL: bool = false;
const TRANSPOSED: bool = false;
const TOKENS: u32 = 16;  // mixer: L

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn mix_tokens(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let c = i % params.width;
    let m = i / params.width % params.outputs;
    let source = params.x0 + i / params.width / params.outputs * params.tokens * params.width + c;
    var v = vec4f();
    for (var l = 0u; l < params.tokens; l++) {
        let at = select(m * params.tokens + l, l * params.outputs + m, TRANSPOSED);
        v += w[at] * x[source + l * params.width];
    }
    if (BIASED) { v += bias[m]; }
    v = select(vec4f(), activate(ACT, v, params.slope), used(c, params.channels));
    if (RESIDUAL) { v += residual[params.r0 + i]; }
    y[params.y0 + i] = v;
}

@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;

@compute @workgroup_size(64)
fn mix_weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let columns = params.tokens + 1u;  // the last is b
    let i = number(group) * 4u + lane / 16u;
    let m = min(i / columns, params.outputs - 1u);
    let l = i % columns;
    var sum = 0.0;
    for (var e = lane % 16u; e < params.images * params.width; e += 16u) {
        let image = e / params.width;
        let c = e % params.width;
        var v = vec4f(1.0);
        if (l < params.tokens) { v = x[params.x0 + (image * params.tokens + l) * params.width + c]; }
        sum += dot(v, dy[params.dy0 + (image * params.outputs + m) * params.width + c]);
    }
    sum = row_sum(sum, lane);
    if (lane % 16u != 0u || i >= params.outputs * columns) { return; }
    if (l < params.tokens) { dw[m * params.tokens + l] += sum; } else { db[m] += sum; }
}

@group(0) @binding(2) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(3) var<storage, read> beta: array<vec4f>;
@group(0) @binding(4) var<storage, read> w1: array<f32>;  // [M, L]
@group(0) @binding(5) var<storage, read> b1: array<f32>;  // [M]
@group(0) @binding(6) var<storage, read> w2: array<f32>;  // [L, M]
@group(0) @binding(7) var<storage, read> b2: array<f32>;  // [L]
@group(0) @binding(8) var<storage, read_write> mixed: array<vec4f>;

var<workgroup> stats: array<vec2f, TOKENS>;  // of each token: mean, 1 / deviation

// A workgroup computes 256 channels of one image; the statistics of its tokens,
// which need all channels, are taken in each anew: there are few.
@compute @workgroup_size(64)
fn mixer(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let source = params.x0 + group.y * TOKENS * params.width;
    for (var l0 = 0u; l0 < TOKENS; l0 += 4u) {
        let l = l0 + lane / 16u;
        let row = source + min(l, TOKENS - 1u) * params.width;
        let pivot = x[row].x;
        var sum = vec4f();
        for (var c = lane % 16u; c < params.width; c += 16u) {
            sum += select(vec4f(), x[row + c] - pivot, used(c, params.channels));
        }
        let mean = row_sum(dot(sum, vec4f(1.0)), lane) / f32(params.channels);
        var squares = vec4f();
        for (var c = lane % 16u; c < params.width; c += 16u) {
            let v = select(vec4f(), x[row + c] - pivot - mean, used(c, params.channels));
            squares += v * v;
        }
        let variance = row_sum(dot(squares, vec4f(1.0)), lane) / f32(params.channels);
        if (lane % 16u == 0u && l < TOKENS) { stats[l] = vec2f(mean, inverseSqrt(variance + params.eps)); }
    }
    workgroupBarrier();
    let c = group.x * 64u + lane;
    if (c >= params.width) { return; }
    var normal: array<vec4f, TOKENS>;
    var sums: array<vec4f, TOKENS>;
    for (var l = 0u; l < TOKENS; l++) {
        let row = source + l * params.width;
        normal[l] = (x[row + c] - x[row].x - stats[l].x) * stats[l].y * gamma[c] + beta[c];
        sums[l] = vec4f(b2[l]);
    }
    for (var m = 0u; m < params.outputs; m++) {
        var h = vec4f(b1[m]);
        for (var l = 0u; l < TOKENS; l++) { h += w1[m * TOKENS + l] * normal[l]; }
        h = gelu(h);
        for (var l = 0u; l < TOKENS; l++) { sums[l] += w2[l * params.outputs + m] * h; }
    }
    for (var l = 0u; l < TOKENS; l++) {
        let i = l * params.width + c;
        mixed[params.y0 + group.y * TOKENS * params.width + i] = x[source + i] + select(vec4f(), sums[l], used(c, params.channels));
    }
}
