// pack: parameters as PyTorch stores them into the panels linear.wgsl reads.
//   w [O, I]   bias [O]   gamma, beta [I]   scale, shift [images, I]
//   panels [images, ...] as in panels.wgsl   epilogue [images, 2, N]
//   w'[o,i] = w[o,i] g[i]        with g = gamma * scale
//   epilogue: bias[o] + sum_i w[o,i] h[i]   with h = beta * scale + shift,
//             then sum_i w'[o,i]
// so that linear(LayerNorm(x) * scale + shift) needs w' and the epilogue only.
//
// Channels on the device come in equal parts, each padded with zeros to a
// multiple of 4 (DESIGN: attention heads, halves of a gate); w and bias are
// not padded. Transposed, w belongs to the map that this one is the transpose
// of: it is read as [I, O], and a convolution's taps turned round.

// import: panels

struct Params {
    outputs: u32,     // O
    inputs: u32,      // I used, from in0 on
    in0: u32,
    row: u32,         // w's row length
    out_part: u32,    // channels per part, as in w
    out_pad: u32,     // and as stored
    in_part: u32,
    in_pad: u32,
    n: u32,           // stored sizes
    k: u32,
    shuffle: u32,     // r*r if outputs are to be stored sub-pixel by sub-pixel (pixel shuffle), else 1
    taps: u32,        // 9 for a 3x3 convolution [O, I, 3, 3], packed tap by tap; else 1
    scale0: u32,      // where the modulation's scale and shift start in a row
    shift0: u32,
    ms: u32,          // and the row's length
    first: u32,       // where our outputs begin among all of the map's, a multiple of 16
    n_all: u32,
}

const GAMMA: bool = false;
const BETA: bool = false;
const MODULATED: bool = false;  // scale and shift
const BIASED: bool = false;
const TRANSPOSED: bool = false;
const DEPTH: u32 = 0;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> modulation: array<f32>;  // [images, ms]
@group(0) @binding(6) var<storage, read_write> panels: array<f32>;
@group(0) @binding(7) var<storage, read_write> epilogue: array<f32>;

// logical returns the channel stored at i, or limit for padding.
fn logical(i: u32, part: u32, padded: u32, limit: u32) -> u32 {
    let within = i % padded;
    let c = (i / padded) * part + within;
    return select(limit, c, within < part && c < limit);
}

// One invocation packs one output.
@compute @workgroup_size(64)
fn pack(@builtin(global_invocation_id) id: vec3u) {
    let stored = id.x;
    let width = (params.n + 15u) / 16u * 16u;
    if (stored >= width) { return; }
    let image = id.y;
    var o = params.outputs;
    if (stored < params.n) { o = logical(stored, params.out_part, params.out_pad, params.outputs); }
    if (o < params.outputs && params.shuffle > 1u) {
        let inner = params.outputs / params.shuffle;
        o = (o % inner) * params.shuffle + o / inner;
    }
    var sum = 0.0;
    var constant = 0.0;
    let all = (params.n_all + 15u) / 16u;
    let to = (params.first + stored) / 4u;
    let base = image * all * 4u * packed_inputs(params.k, DEPTH);
    let width_in = params.k / params.taps;
    for (var k = 0u; k < packed_inputs(params.k, DEPTH); k++) {
        let tap = k / width_in;
        let i = logical(k % width_in, params.in_part, params.in_pad, params.inputs);
        var v = 0.0;
        if (o < params.outputs && i < params.inputs && k < params.k) {
            if (TRANSPOSED) { v = w[i * params.row + (params.in0 + o) * params.taps + params.taps - 1u - tap]; }
            else { v = w[o * params.row + (params.in0 + i) * params.taps + tap]; }
            var g = 1.0;
            var h = 0.0;
            if (GAMMA) { g = gamma[i]; }
            if (BETA) { h = beta[i]; }
            if (MODULATED) {
                let m = image * params.ms + i;
                g *= modulation[params.scale0 + m];
                h = h * modulation[params.scale0 + m] + modulation[params.shift0 + m];
            }
            constant += v * h;
            v *= g;
        }
        sum += v;
        panels[(base + packed4(to, k, params.k, all, DEPTH)) * 4u + stored % 4u] = v;
    }
    if (BIASED && o < params.outputs) { constant += bias[o]; }
    let at = params.first + stored;
    if (at < params.n_all) {
        epilogue[image * 2u * params.n_all + at] = constant;
        epilogue[(image * 2u + 1u) * params.n_all + at] = sum;
    }
}

// depthwise reorders w [C, 1, 3, 3] and bias [C] into [10, N]: nine taps, then
// the bias.
@group(0) @binding(3) var<storage, read_write> taps: array<f32>;

@compute @workgroup_size(64)
fn depthwise(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= params.n) { return; }
    let c = logical(id.x, params.out_part, params.out_pad, params.outputs);
    for (var tap = 0u; tap < 10u; tap++) {
        var v = 0.0;
        if (c < params.outputs) {
            if (tap == 9u) { if (BIASED) { v = bias[c]; } }
            else if (TRANSPOSED) { v = w[c * 9u + 8u - tap]; }
            else { v = w[c * 9u + tap]; }
        }
        taps[tap * params.n + id.x] = v;
    }
}
