// him: hierarchical integration module, cross-attention of pixels to the prior.
//   source: HI-Diff §3.2 (HIM); x [N, H, W, C], prior tokens [N, L, 4e]
//   q = Wq norm1(x) + bq;  k, v = Wkv norm2(prior) + bkv
//   y = x + Wp (softmax(q kᵀ (C/heads)^-0.5) v) + bp
// With few tokens (16 or 4) it pays to multiply the small matrices first:
//   fold   scores[t] = sum_i k[t,i] Wq[i,:] scale gamma   and   outs[t] = v[t] Wpᵀ
//   apply  per pixel: 16 scores, softmax per head, 16 rows of outs
// LayerNorm of x is folded as in linear.wgsl. Tokens of a head are padded to a
// multiple of 4 and their scores masked.

struct Params {
    pixels: u32,   // per image, of the band
    c4: u32,       // stored channels / 4
    channels: u32,
    heads: u32,
    c: u32,        // channels of a head
    cp: u32,       // as stored in k and v
    tokens: u32,   // L
    image: u32,    // first image of the band
    x0: u32,       // in vec4
    y0: u32,
    kv_at: u32,    // where our k and v begin in a row of kv, and its length
    kv_row: u32,
    eps: f32,
}

const NORM: u32 = 1;       // 1 LayerNorm, 2 BiasFree
const TOKENS4: u32 = 4;    // heads * padded tokens / 4
const PER_HEAD4: u32 = 4;  // padded tokens / 4
const Q_BIAS: bool = false;
const BETA: bool = false;

@group(0) @binding(0) var<uniform> params: Params;

// --- fold: a workgroup takes one head of one image -----------------------------

@group(0) @binding(1) var<storage, read> kv: array<f32>;     // [N, L, ...]: k, then v, a part per head
@group(0) @binding(2) var<storage, read> q_weight: array<f32>;  // [C, C]
@group(0) @binding(3) var<storage, read> q_bias: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read> proj: array<f32>;   // [C, C]
// scores [N, 4 c4 + 2, 4 TOKENS4]: a row per channel, then sums, then constants
@group(0) @binding(7) var<storage, read_write> scores_out: array<f32>;
// outs [N, 4 TOKENS4, 4 c4]
@group(0) @binding(8) var<storage, read_write> outs_out: array<f32>;

@compute @workgroup_size(256)
fn fold(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let head = group.x;
    let image = group.y;
    let stored = params.c4 * 4u;
    let padded = PER_HEAD4 * 4u;
    let all = TOKENS4 * 4u;
    let scale = inverseSqrt(f32(params.c));
    let to = image * (stored + 2u) * all + head * padded;
    for (var e = lane; e < padded * stored; e += 256u) {
        let t = e / stored;
        let channel = e % stored;
        var score = 0.0;
        var out = 0.0;
        if (t < params.tokens && channel < params.channels) {
            let k = (image * params.tokens + t) * params.kv_row + params.kv_at + head * params.cp;
            let v = k + params.heads * params.cp;
            for (var i = 0u; i < params.c; i++) {
                score += kv[k + i] * q_weight[(head * params.c + i) * params.channels + channel];
                out += kv[v + i] * proj[channel * params.channels + head * params.c + i];
            }
        }
        scores_out[to + channel * all + t] = score * scale;
        outs_out[(image * all + head * padded + t) * stored + channel] = out;
    }
    storageBarrier();
    for (var t = lane; t < padded; t += 256u) {
        var sum = 0.0;
        var constant = 0.0;
        for (var channel = 0u; channel < params.channels; channel++) {
            let at = to + channel * all + t;
            let w = scores_out[at];
            if (BETA) { constant += w * beta[channel]; }
            let folded = w * gamma[channel];
            scores_out[at] = folded;
            sum += folded;
        }
        if (Q_BIAS && t < params.tokens) {
            let k = (image * params.tokens + t) * params.kv_row + params.kv_at + head * params.cp;
            for (var i = 0u; i < params.c; i++) { constant += kv[k + i] * q_bias[head * params.c + i] * scale; }
        }
        scores_out[to + stored * all + t] = sum;
        scores_out[to + (stored + 1u) * all + t] = constant;
    }
}

// --- apply: an invocation takes one pixel --------------------------------------

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> scores: array<vec4f>;
@group(0) @binding(3) var<storage, read> outs: array<vec4f>;
@group(0) @binding(4) var<storage, read> proj_bias: array<vec4f>;  // [C], padded
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let pixel = (group.x + group.y * 65535u) * 64u + lane;
    if (pixel >= params.pixels) { return; }
    let at = params.x0 + (group.z * params.pixels + pixel) * params.c4;
    let to = params.y0 + (group.z * params.pixels + pixel) * params.c4;
    let image = params.image + group.z;
    let table = image * (params.c4 * 4u + 2u) * TOKENS4;
    let pivot = x[at].x;
    var sum = 0.0;
    var squares = 0.0;
    var s: array<vec4f, TOKENS4>;
    for (var t = 0u; t < TOKENS4; t++) { s[t] = vec4f(); }
    for (var k = 0u; k < params.c4; k++) {
        let padding = vec4u(4u * k) + vec4u(0u, 1u, 2u, 3u) >= vec4u(params.channels);
        let d = select(x[at + k] - pivot, vec4f(), padding);
        sum += dot(d, vec4f(1.0));
        squares += dot(d, d);
        let r = table + 4u * k * TOKENS4;
        for (var t = 0u; t < TOKENS4; t++) {
            s[t] += mat4x4f(scores[r + t], scores[r + TOKENS4 + t], scores[r + 2u * TOKENS4 + t], scores[r + 3u * TOKENS4 + t]) * d;
        }
    }
    let mean = sum / f32(params.channels);
    let rstd = inverseSqrt(max(squares / f32(params.channels) - mean * mean, 0.0) + params.eps);
    let centre = select(mean, -pivot, NORM == 2u);
    let sums = table + params.c4 * 4u * TOKENS4;
    // Masked tokens sit at the end of each head's last vec4s.
    for (var h = 0u; h < TOKENS4; h += PER_HEAD4) {
        var top = vec4f(-3.0e38);
        for (var t = 0u; t < PER_HEAD4; t++) {
            let valid = vec4u(4u * t) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.tokens);
            let score = rstd * (s[h + t] - centre * scores[sums + h + t]) + scores[sums + TOKENS4 + h + t];
            s[h + t] = select(vec4f(-3.0e38), score, valid);
            top = max(top, s[h + t]);
        }
        let most = max(max(top.x, top.y), max(top.z, top.w));
        var total = 0.0;
        for (var t = 0u; t < PER_HEAD4; t++) {
            let valid = vec4u(4u * t) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.tokens);
            s[h + t] = select(vec4f(), exp(s[h + t] - most), valid);
            total += dot(s[h + t], vec4f(1.0));
        }
        for (var t = 0u; t < PER_HEAD4; t++) { s[h + t] /= total; }
    }
    let rows = image * TOKENS4 * 4u * params.c4;
    for (var k = 0u; k < params.c4; k++) {
        var out = proj_bias[k];
        for (var t = 0u; t < TOKENS4; t++) {
            let r = rows + 4u * t * params.c4 + k;
            out += s[t].x * outs[r] + s[t].y * outs[r + params.c4] + s[t].z * outs[r + 2u * params.c4] + s[t].w * outs[r + 3u * params.c4];
        }
        y[to + k] = x[at + k] + out;
    }
}
