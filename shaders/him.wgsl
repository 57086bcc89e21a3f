// him: hierarchical integration module, cross-attention of pixels to the prior.
//   source: HI-Diff §3.2 (HIM); x [N, H, W, C], prior tokens [N, L, 4e]
//   q = Wq norm1(x) + bq;  k, v = Wkv norm2(prior) + bkv
//   y = x + Wp (softmax(q kᵀ (C/heads)^-0.5) v) + bp
// With few tokens (16 or 4) it pays to multiply the small matrices first:
//   fold   scores[t] = sum_i k[t,i] Wq[i,:] scale gamma   and   outs[t] = v[t] Wpᵀ
//   apply  per pixel: 16 scores, softmax per head, 16 rows of outs
// LayerNorm of x is folded as in linear.wgsl. Tokens of a head are padded to a
// multiple of 4 and their scores masked.
//
// The gradient goes the same way back, with x̂ the normalised x, a the attention
// and s the scores without constants, s = scores x̂:
//   backward  per pixel: da = outs dy, ds = a (da - sum over the head of a da), and
//             dx̂ = scoresᵀ ds, whose LayerNorm needs no sum over channels:
//             sum dx̂ = ds · sums and sum dx̂ x̂ = ds · s
//   then sums over each image's pixels (tensor/gradient.go)
//             G = x̂ᵀ ds, b = sum ds, dO = aᵀ dy
//   unfold    dgamma, dbeta, and from G the gradient of q's small matrix,
//             D = gamma G + beta b
//   weights   dWq = scale kᵀ D, dbq = scale kᵀ b, dWp = dOᵀ v, and dbp = sum dO
//             over the tokens of one head, because its attention sums to one
//   tokens    dk = scale (D Wq + b bq), dv = dO Wp

// import: layout
// import: norm

struct Params {
    pixels: u32,   // per image, of the band
    c4: u32,       // stored channels / 4
    channels: u32,
    heads: u32,
    c: u32,        // channels of a head
    cp: u32,       // as stored in k and v
    tokens: u32,   // L
    images: u32,   // N
    image: u32,    // first image of the band
    x0: u32,       // in vec4
    dy0: u32,
    y0: u32,       // of y or dx
    kv_at: u32,    // where our k and v begin in a row of kv, and its length
    kv_row: u32,
    eps: f32,
}

const NORM: Norm = NO_NORM;
const TOKENS4: u32 = 4;    // heads * padded tokens / 4
const PER_HEAD4: u32 = 4;  // padded tokens / 4
const Q_BIAS: bool = false;
const BETA: bool = false;

@group(0) @binding(0) var<uniform> params: Params;

// key says where in kv channel i of a head's key begins; values are
// heads * cp further.
fn key(image: u32, token: u32, head: u32) -> u32 {
    return (image * params.tokens + token) * params.kv_row + params.kv_at + head * params.cp;
}

fn scale() -> f32 { return inverseSqrt(f32(params.c)); }

// --- fold: a workgroup takes one head of one image -----------------------------

@group(0) @binding(1) var<storage, read> kv: array<f32>;     // [N, L, ...]: k, then v, a part per head
@group(0) @binding(2) var<storage, read> q_bias: array<f32>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> q_weight: array<f32>;  // [C, C]
@group(0) @binding(6) var<storage, read> proj: array<f32>;      // [C, C]
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
    let to = image * (stored + 2u) * all + head * padded;
    for (var e = lane; e < padded * stored; e += 256u) {
        let t = e / stored;
        let channel = e % stored;
        var score = 0.0;
        var out = 0.0;
        if (t < params.tokens && channel < params.channels) {
            let k = key(image, t, head);
            let v = k + params.heads * params.cp;
            for (var i = 0u; i < params.c; i++) {
                score += kv[k + i] * q_weight[(head * params.c + i) * params.channels + channel];
                out += kv[v + i] * proj[channel * params.channels + head * params.c + i];
            }
        }
        scores_out[to + channel * all + t] = score * scale();
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
            let k = key(image, t, head);
            for (var i = 0u; i < params.c; i++) { constant += kv[k + i] * q_bias[head * params.c + i] * scale(); }
        }
        scores_out[to + stored * all + t] = sum;
        scores_out[to + (stored + 1u) * all + t] = constant;
    }
}

// --- apply, backward: an invocation takes one pixel -----------------------------

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> scores: array<vec4f>;
@group(0) @binding(3) var<storage, read> outs: array<vec4f>;

// Scores of one pixel.
alias Row = array<vec4f, TOKENS4>;

// Mean of a pixel's x - x[0], and one over the deviation.
struct Statistics { mean: f32, rstd: f32 }

// project sets s to scores x̂ for the pixel at at; table is its image's scores.
fn project(at: u32, table: u32, s: ptr<function, Row>) -> Statistics {
    let pivot = x[at].x;
    var sum = 0.0;
    var squares = 0.0;
    for (var t = 0u; t < TOKENS4; t++) { (*s)[t] = vec4f(); }
    for (var k = 0u; k < params.c4; k++) {
        let d = select(vec4f(), x[at + k] - pivot, used(k, params.channels));
        sum += dot(d, vec4f(1.0));
        squares += dot(d, d);
        let r = table + 4u * k * TOKENS4;
        for (var t = 0u; t < TOKENS4; t++) {
            (*s)[t] += mat4x4f(scores[r + t], scores[r + TOKENS4 + t], scores[r + 2u * TOKENS4 + t], scores[r + 3u * TOKENS4 + t]) * d;
        }
    }
    let mean = sum / f32(params.channels);
    let rstd = inverseSqrt(max(squares / f32(params.channels) - mean * mean, 0.0) + params.eps);
    let centre = select(mean, -pivot, NORM == BIAS_FREE);
    let sums = table + params.c4 * 4u * TOKENS4;
    for (var t = 0u; t < TOKENS4; t++) { (*s)[t] = rstd * ((*s)[t] - centre * scores[sums + t]); }
    return Statistics(mean, rstd);
}

// attend turns scores into attention, which is zero for padding.
fn attend(table: u32, s: ptr<function, Row>) {
    let constants = table + (params.c4 * 4u + 1u) * TOKENS4;
    // Masked tokens sit at the end of each head's last vec4s.
    for (var h = 0u; h < TOKENS4; h += PER_HEAD4) {
        var top = vec4f(-3.0e38);
        for (var t = 0u; t < PER_HEAD4; t++) {
            (*s)[h + t] = select(vec4f(-3.0e38), (*s)[h + t] + scores[constants + h + t], used(t, params.tokens));
            top = max(top, (*s)[h + t]);
        }
        let most = max(max(top.x, top.y), max(top.z, top.w));
        var total = 0.0;
        for (var t = 0u; t < PER_HEAD4; t++) {
            (*s)[h + t] = select(vec4f(), exp((*s)[h + t] - most), used(t, params.tokens));
            total += dot((*s)[h + t], vec4f(1.0));
        }
        for (var t = 0u; t < PER_HEAD4; t++) { (*s)[h + t] /= total; }
    }
}

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
    var s: Row;
    _ = project(at, table, &s);
    attend(table, &s);
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

@group(0) @binding(4) var<storage, read> dy: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> normal: array<vec4f>;     // x̂ [pixels, C]
@group(0) @binding(6) var<storage, read_write> attention: array<vec4f>;  // [pixels, 4 TOKENS4]
@group(0) @binding(7) var<storage, read_write> dscores: array<vec4f>;    // [pixels, 4 TOKENS4]
@group(0) @binding(8) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let pixel = (group.x + group.y * 65535u) * 64u + lane;
    if (pixel >= params.pixels) { return; }
    let row = group.z * params.pixels + pixel;
    let at = params.x0 + row * params.c4;
    let upstream = params.dy0 + row * params.c4;
    let image = params.image + group.z;
    let table = image * (params.c4 * 4u + 2u) * TOKENS4;
    var s: Row;
    let statistics = project(at, table, &s);
    var a = s;
    attend(table, &a);
    var ds: Row;
    for (var t = 0u; t < TOKENS4; t++) { ds[t] = vec4f(); }
    let rows = image * TOKENS4 * 4u * params.c4;
    for (var k = 0u; k < params.c4; k++) {
        let g = dy[upstream + k];
        for (var t = 0u; t < TOKENS4; t++) {
            let r = rows + 4u * t * params.c4 + k;
            ds[t] += g * mat4x4f(outs[r], outs[r + params.c4], outs[r + 2u * params.c4], outs[r + 3u * params.c4]);
        }
    }
    let sums = table + params.c4 * 4u * TOKENS4;
    var average = 0.0;  // of dx̂
    var along = 0.0;    // of dx̂ x̂
    for (var h = 0u; h < TOKENS4; h += PER_HEAD4) {
        var expected = 0.0;
        for (var t = h; t < h + PER_HEAD4; t++) { expected += dot(a[t], ds[t]); }
        for (var t = h; t < h + PER_HEAD4; t++) {
            ds[t] = a[t] * (ds[t] - expected);
            average += dot(ds[t], scores[sums + t]);
            along += dot(ds[t], s[t]);
            attention[row * TOKENS4 + t] = a[t];
            dscores[row * TOKENS4 + t] = ds[t];
        }
    }
    average = select(average / f32(params.channels), 0.0, NORM == BIAS_FREE);
    along /= f32(params.channels);
    let pivot = x[at].x;
    for (var k = 0u; k < params.c4; k++) {
        var g = vec4f();
        let r = table + 4u * k * TOKENS4;
        for (var t = 0u; t < TOKENS4; t++) {
            g += ds[t] * mat4x4f(scores[r + t], scores[r + TOKENS4 + t], scores[r + 2u * TOKENS4 + t], scores[r + 3u * TOKENS4 + t]);
        }
        let deviation = statistics.rstd * (x[at + k] - pivot - statistics.mean);
        g = statistics.rstd * (g - average - deviation * along);
        let real = used(k, params.channels);
        dx[params.y0 + row * params.c4 + k] = dy[upstream + k] + select(vec4f(), g, real);
        normal[row * params.c4 + k] = select(vec4f(), select(deviation, statistics.rstd * x[at + k], NORM == BIAS_FREE), real);
    }
}

// --- unfold: a workgroup takes one channel of norm1 -----------------------------

@group(0) @binding(2) var<storage, read> dconstants: array<f32>;  // b [N, 4 TOKENS4]
@group(0) @binding(6) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(8) var<storage, read_write> unfolded: array<f32>;  // G, then D [N, 4 c4, 4 TOKENS4]

var<workgroup> shares: array<vec2f, 64>;

@compute @workgroup_size(64)
fn unfold(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let channel = group.x;
    let stored = params.c4 * 4u;
    let all = TOKENS4 * 4u;
    var share = vec2f();  // of dgamma, dbeta
    for (var o = lane; o < params.channels; o += 64u) {
        let head = o / params.c;
        var sum = vec2f();
        for (var image = 0u; image < params.images; image++) {
            for (var t = 0u; t < params.tokens; t++) {
                let e = head * PER_HEAD4 * 4u + t;
                sum += kv[key(image, t, head) + o % params.c] * vec2f(unfolded[(image * stored + channel) * all + e], dconstants[image * all + e]);
            }
        }
        share += sum * q_weight[o * params.channels + channel] * scale();
    }
    shares[lane] = share;
    storageBarrier();
    workgroupBarrier();
    if (lane == 0u) {
        var total = vec2f();
        for (var i = 0u; i < 64u; i++) { total += shares[i]; }
        dgamma[channel] += total.x;
        if (BETA) { dbeta[channel] += total.y; }
    }
    for (var e = lane; e < params.images * all; e += 64u) {
        let at = (e / all * stored + channel) * all + e % all;
        var d = gamma[channel] * unfolded[at];
        if (BETA) { d += beta[channel] * dconstants[e]; }
        unfolded[at] = d;
    }
}

// --- weights: an invocation takes one weight of q and its mirror image of proj ---

@group(0) @binding(3) var<storage, read> dtable: array<f32>;  // D [N, 4 c4, 4 TOKENS4]
@group(0) @binding(4) var<storage, read> douts: array<f32>;   // dO [N, 4 TOKENS4, 4 c4]
@group(0) @binding(5) var<storage, read_write> dq_weight: array<f32>;
@group(0) @binding(6) var<storage, read_write> dq_bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dproj: array<f32>;
@group(0) @binding(8) var<storage, read_write> dproj_bias: array<f32>;

@compute @workgroup_size(64)
fn weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.channels * params.channels) { return; }
    let o = i / params.channels;
    let channel = i % params.channels;
    let head = o / params.c;
    let stored = params.c4 * 4u;
    let all = TOKENS4 * 4u;
    var weight = 0.0;
    var bias = 0.0;
    var out = 0.0;
    var out_bias = 0.0;
    for (var image = 0u; image < params.images; image++) {
        for (var t = 0u; t < params.tokens; t++) {
            let k = key(image, t, head) + o % params.c;
            let e = head * PER_HEAD4 * 4u + t;
            let g = douts[(image * all + e) * stored + channel];
            weight += kv[k] * dtable[(image * stored + channel) * all + e];
            bias += kv[k] * dconstants[image * all + e];
            out += kv[k + params.heads * params.cp] * g;
            out_bias += g;
        }
    }
    dq_weight[i] += weight * scale();
    dproj[channel * params.channels + o] += out;
    if (Q_BIAS && channel == 0u) { dq_bias[o] += bias * scale(); }
    if (o == 0u) { dproj_bias[channel] += out_bias; }
}

// --- tokens: an invocation takes one channel of a token's k and v ----------------

@group(0) @binding(1) var<storage, read> bq: array<f32>;
@group(0) @binding(7) var<storage, read_write> dkv: array<f32>;

@compute @workgroup_size(64)
fn tokens(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.images * params.tokens * params.channels) { return; }
    let o = i % params.channels;
    let t = i / params.channels % params.tokens;
    let image = i / params.channels / params.tokens;
    let head = o / params.c;
    let stored = params.c4 * 4u;
    let all = TOKENS4 * 4u;
    let e = head * PER_HEAD4 * 4u + t;
    var dk = 0.0;
    var dv = 0.0;
    for (var channel = 0u; channel < params.channels; channel++) {
        dk += dtable[(image * stored + channel) * all + e] * q_weight[o * params.channels + channel];
        dv += douts[(image * all + e) * stored + channel] * proj[channel * params.channels + o];
    }
    if (Q_BIAS) { dk += dconstants[image * all + e] * bq[o]; }
    let k = key(image, t, head) + o % params.c;
    dkv[k] += dk * scale();
    dkv[k + params.heads * params.cp] += dv;
}
