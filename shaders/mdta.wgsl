// mdta: multi-dconv head transposed attention, from the qkv projection on.
//   source: Restormer §3.1; HI-Diff's Attention
//   qkv [rows, W, 3 heads c]: per head q, k, v before the depthwise 3x3
//   q, k, v = dw(qkv);   attn = softmax(temperature q̂ᵀ k̂)  [c, c] over pixels
//   out = project_out(attn v)
// The only sums over the whole image are G = qᵀ k and the squared norms of q
// and k, so qkv is needed band by band, and q and k are never stored:
//   gram    dw in workgroup memory; v to memory, partial G and norms per chunk
//   attend  fixed-order sum of the partials, softmax, and M = project_out
//           blockdiag(attn), packed in panels: attention and projection are
//           then one matrix product over v (linear.wgsl)

struct Params {
    height: u32,
    width: u32,
    out_row: u32,     // as in conv3x3.wgsl
    pixels: u32,      // of the band, per image
    in_row: u32,
    x0: u32,          // in vec4
    v0: u32,
    heads: u32,
    c4: u32,          // stored channels of a head / 4
    block4: u32,      // channels / 4 of a block of G, at most 16
    chunk: u32,       // tiles per chunk
    first_slot: u32,  // where the band's chunks start
    slots: u32,       // chunks per image and head
    c: u32,           // channels of a head
    outputs: u32,     // attend: of project_out
    panel_width: u32, // attend: outputs, padded to 16
    n: u32,           // attend: stored outputs
}

const BIAS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;

// --- gram: a workgroup takes one chunk, one head, one block of G --------------

const TILE: u32 = 32;  // pixels of a row staged at a time

@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> taps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials_out: array<vec4f>;

var<workgroup> qs: array<vec4f, 512>;  // [TILE][16]
var<workgroup> ks: array<vec4f, 512>;

// column loads channels 4c to 4c+3 at a column, counted from one left of the
// image, of the row that starts at start.
fn column(start: u32, at: u32) -> vec4f {
    if (at == 0u || at > params.width) { return vec4f(); }
    return qkv[start + (at - 1u) * 3u * params.heads * params.c4];
}

// Three rows of a column.
struct Column { above: vec4f, middle: vec4f, below: vec4f }

@compute @workgroup_size(256)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let blocks = (params.c4 + params.block4 - 1u) / params.block4;
    let head = group.y / (blocks * blocks);
    let q_block = (group.y / blocks) % blocks * params.block4;
    let k_block = group.y % blocks * params.block4;
    // Lanes of the convolution: a run of 8 pixels, and 4 channels of q, of k or
    // (in one of the blocks) of v.
    let kinds = select(2u, 3u, k_block == 0u);
    let lanes = kinds * params.block4;
    let run = lane / lanes;
    let kind = (lane % lanes) / params.block4;
    let within = lane % params.block4;
    let c = select(k_block, q_block, kind != 1u) + within;
    let busy = run < TILE / 8u && c < params.c4;
    let stride = 3u * params.heads * params.c4;
    let channel = (kind * params.heads + head) * params.c4 + c;
    // Lanes of G: one 4x4 tile each.
    let i = lane / 16u;
    let j = lane % 16u;
    let counts = i < params.block4 && j < params.block4;
    var g = mat4x4f();
    var q2 = vec4f();
    var k2 = vec4f();
    let across = (params.width + TILE - 1u) / TILE;
    let rows = params.pixels / params.width;
    let begin = group.x * params.chunk;
    let end = min(begin + params.chunk, rows * across);
    for (var tile = begin; tile < end; tile++) {
        let row = group.z * rows + tile / across;
        let left = tile % across * TILE;
        if (busy) {
            let first = left + 8u * run;
            let in_image = (params.out_row + row) % params.height;
            let middle = params.x0 + (params.out_row + row - params.in_row) * params.width * stride + channel;
            let above = middle - params.width * stride;
            let below = middle + params.width * stride;
            let up = f32(in_image > 0u);
            let down = f32(in_image + 1u < params.height);
            // The image's edge is zero: its taps are, and its row is any other.
            let ta0 = up * taps[channel];
            let ta1 = up * taps[stride + channel];
            let ta2 = up * taps[2u * stride + channel];
            let tm0 = taps[3u * stride + channel];
            let tm1 = taps[4u * stride + channel];
            let tm2 = taps[5u * stride + channel];
            let tb0 = down * taps[6u * stride + channel];
            let tb1 = down * taps[7u * stride + channel];
            let tb2 = down * taps[8u * stride + channel];
            let bias = taps[9u * stride + channel];
            let a = select(middle, above, in_image > 0u);
            let b = select(middle, below, in_image + 1u < params.height);
            var c0 = Column(column(a, first), column(middle, first), column(b, first));
            var c1 = Column(column(a, first + 1u), column(middle, first + 1u), column(b, first + 1u));
            for (var p = 0u; p < 8u; p++) {
                let at = first + p;
                let c2 = Column(column(a, at + 2u), column(middle, at + 2u), column(b, at + 2u));
                var value = bias + ta0 * c0.above + ta1 * c1.above + ta2 * c2.above
                    + tm0 * c0.middle + tm1 * c1.middle + tm2 * c2.middle
                    + tb0 * c0.below + tb1 * c1.below + tb2 * c2.below;
                c0 = c1;
                c1 = c2;
                if (at >= params.width) { value = vec4f(); }
                if (kind == 0u) { qs[(8u * run + p) * 16u + within] = value; }
                if (kind == 1u) { ks[(8u * run + p) * 16u + within] = value; }
                if (kind == 2u && at < params.width) {
                    v[params.v0 + ((row * params.width + at) * params.heads + head) * params.c4 + c] = value;
                }
            }
        }
        workgroupBarrier();
        if (counts) {
            for (var p = 0u; p < TILE; p++) {
                let q = qs[p * 16u + i];
                let k = ks[p * 16u + j];
                g += mat4x4f(q.x * k, q.y * k, q.z * k, q.w * k);
                q2 += q * q;
                k2 += k * k;
            }
        }
        workgroupBarrier();
    }
    if (!counts || q_block + i >= params.c4 || k_block + j >= params.c4) { return; }
    // A slot: G row by row, then the squared norms of q, then of k.
    let slot = ((group.z * params.heads + head) * params.slots + params.first_slot + group.x) * (params.c4 * 4u + 2u) * params.c4;
    for (var r = 0u; r < 4u; r++) {
        partials_out[slot + ((q_block + i) * 4u + r) * params.c4 + k_block + j] = g[r];
    }
    if (k_block + j == 0u) { partials_out[slot + params.c4 * 4u * params.c4 + q_block + i] = q2; }
    if (q_block + i == 0u) { partials_out[slot + (params.c4 * 4u + 1u) * params.c4 + k_block + j] = k2; }
}

// --- attend: a workgroup takes one head of one image --------------------------

@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> temperature: array<f32>;
@group(0) @binding(3) var<storage, read> project_out: array<f32>;  // [outputs, heads c]
@group(0) @binding(4) var<storage, read> out_bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> attn: array<f32>;     // [images, heads, 4 c4 + 2, 4 c4]
@group(0) @binding(6) var<storage, read_write> panels: array<f32>;
@group(0) @binding(7) var<storage, read_write> epilogue: array<f32>;

@compute @workgroup_size(256)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let image = group.y;
    let stored = params.c4 * 4u;
    let size = (stored + 2u) * stored;
    let mine = (image * params.heads + head) * size;
    for (var e = lane; e < size; e += 256u) {
        var sum = 0.0;
        var at = mine * params.slots + e;
        for (var s = 0u; s < params.slots; s++) {
            sum += partials[at];
            at += size;
        }
        attn[mine + e] = sum;
    }
    storageBarrier();
    for (var row = lane; row < stored; row += 256u) {
        let start = mine + row * stored;
        let q = max(sqrt(attn[mine + stored * stored + row]), 1e-12);
        var top = -3.0e38;
        for (var j = 0u; j < params.c; j++) {
            let k = max(sqrt(attn[mine + (stored + 1u) * stored + j]), 1e-12);
            let logit = attn[start + j] / q / k * temperature[head];
            attn[start + j] = logit;
            top = max(top, logit);
        }
        var sum = 0.0;
        for (var j = 0u; j < params.c; j++) {
            let e = exp(attn[start + j] - top);
            attn[start + j] = e;
            sum += e;
        }
        for (var j = 0u; j < params.c; j++) { attn[start + j] /= sum; }
    }
    storageBarrier();
    let depth = params.heads * stored;  // K of the packed matrix
    for (var e = lane; e < params.panel_width * stored; e += 256u) {
        let o = e % params.panel_width;
        let j = e / params.panel_width;
        var sum = 0.0;
        if (o < params.outputs && j < params.c) {
            for (var i = 0u; i < params.c; i++) {
                sum += project_out[o * params.heads * params.c + head * params.c + i] * attn[mine + i * stored + j];
            }
        }
        panels[(image * params.panel_width + o / 16u * 16u) * depth + (head * stored + j) * 16u + o % 16u] = sum;
    }
    if (head == 0u) {
        for (var o = lane; o < params.n; o += 256u) {
            var b = 0.0;
            if (BIAS && o < params.outputs) { b = out_bias[o]; }
            epilogue[image * 2u * params.n + o] = b;
        }
    }
}
