// layernorm: LayerNorm over the last axis of [rows, C], and its gradients.
//            PyTorch: F.layer_norm
//   x, y, dx, dy [rows, C]   gamma, beta [C], or [images, C] of equal runs of rows
//   y = (x - mean) * rstd * gamma + beta;  the variance is biased, eps inside the root
//   bias-free (Restormer): y = x * rstd * gamma, the variance still about the mean
// With z what gamma multiplies, u = dy * gamma and avg over a row:
//   dx = rstd * (u - avg(u) - (x - mean) * rstd * avg(u z));  bias-free, avg(u) is absent
//   dgamma = sum of dy * z, dbeta = sum of dy
// The mean is taken of x - x[0], and the variance in a second pass, so that a
// mean that is large beside the deviation costs no accuracy.
//
// HI-Diff's modulation, y * k1 + k2 with a k1 and k2 [C] for each image, needs
// no kernel of its own: affine turns gamma and beta into gamma * k1 and
// beta * k1 + k2.

// import: layout
// import: norm
// import: rows

struct Params {
    rows: u32,
    channels: u32,
    width: u32,   // of a stored row, in vec4
    x0: u32,      // in vec4
    y0: u32,      // of y, or of dx
    eps: f32,
    each: u32,    // rows with one gamma and beta; 0 if all have the same

    images: u32,  // sets of gamma and beta
    splits: u32,  // chunks of a set's rows
    chunk: u32,   // rows in a chunk, 128 at most
    dy0: u32,     // in vec4
    add0: u32,
    adds: u32,    // 1 if there is something to add to dx

    row: u32,     // of the modulation, and where the first image's is
    row0: u32,
    scale0: u32,  // where k1 and k2 start in a row
    shift0: u32,
}

const NORM: Norm = NO_NORM;
const SHIFT: bool = false;      // beta is added even if bias-free
const GAMMA: bool = false;      // of affine and its gradient: what there is
const BETA: bool = false;
const MODULATED: bool = false;
const GRADIENT: AffineInput = AFFINE_GAMMA;
const LANES: u32 = 16;          // of normalize_rows: invocations to a row, 16 or 1

// AffineInput is what affine_gradient takes the gradient of: the first two in the
// order of sums.
alias AffineInput = u32;
const AFFINE_GAMMA: AffineInput = 0;
const AFFINE_BETA: AffineInput = 1;
const AFFINE_MODULATION: AffineInput = 2;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4f>;  // zero where channels are padding
@group(0) @binding(3) var<storage, read> beta: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

// Moments of a row, the mean as its distance from the pivot.
struct Moments { pivot: f32, mean: f32, rstd: f32 }

// deviations from the pivot, and squares of those from the mean, are summed over
// every step-th vec4 of a row.
fn deviations(row: u32, first: u32, step: u32, m: Moments) -> f32 {
    var sum = vec4f();
    for (var c = first; c < params.width; c += step) {
        sum += select(vec4f(), x[row + c] - m.pivot, used(c, params.channels));
    }
    return dot(sum, vec4f(1.0));
}

fn squares(row: u32, first: u32, step: u32, m: Moments) -> f32 {
    var sum = vec4f();
    for (var c = first; c < params.width; c += step) {
        let v = select(vec4f(), x[row + c] - m.pivot - m.mean, used(c, params.channels));
        sum += v * v;
    }
    return dot(sum, vec4f(1.0));
}

// standard is what gamma multiplies.
fn standard(v: vec4f, m: Moments) -> vec4f {
    if (NORM == NO_NORM) { return v; }
    return select(v, v - m.pivot - m.mean, NORM == WITH_BIAS) * m.rstd;
}

// shared_sum adds up the shares of a row's invocations.
fn shared_sum(share: f32, lane: u32) -> f32 {
    if (LANES == 1u) { return share; }
    return row_sum(share, lane);
}

@compute @workgroup_size(64)
fn normalize_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * (64u / LANES) + lane / LANES;
    let source = params.x0 + min(row, params.rows - 1u) * params.width;
    let first = lane % LANES;
    var m: Moments;
    if (NORM != NO_NORM) {
        m.pivot = x[source].x;
        m.mean = shared_sum(deviations(source, first, LANES, m), lane) / f32(params.channels);
        m.rstd = inverseSqrt(shared_sum(squares(source, first, LANES, m), lane) / f32(params.channels) + params.eps);
    }
    if (row >= params.rows) { return; }
    var own = 0u;
    if (params.each > 0u) { own = row / params.each * params.width; }
    for (var c = first; c < params.width; c += LANES) {
        var v = standard(x[source + c], m) * gamma[own + c];
        if (NORM == WITH_BIAS || SHIFT) { v += beta[own + c]; }
        y[params.y0 + row * params.width + c] = v;
    }
}

// normalize_gradient writes dx (+ add) of a chunk of rows, and the chunk's sums
// of dy * z and of dy: first what the rows average to, then sixteen columns at
// a time, so that no invocation keeps more than one sum of each.
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read> add: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4f>;  // [images, splits, 2, C]

struct Averages { m: Moments, u: f32, uz: f32 }

var<workgroup> averages: array<Averages, 128>;  // of a chunk's rows
var<workgroup> parts: array<vec4f, 64>;

// part_sum adds up four shares of one vec4, for the first sixteen invocations.
fn part_sum(share: vec4f, lane: u32) -> vec4f {
    workgroupBarrier();
    parts[lane] = share;
    workgroupBarrier();
    let i = lane % 16u;
    return parts[i] + parts[i + 16u] + parts[i + 32u] + parts[i + 48u];
}

@compute @workgroup_size(64)
fn normalize_gradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let chunk = number(group);
    if (chunk >= params.images * params.splits) { return; }
    let image = chunk / params.splits;
    let own = image * params.width;
    let row0 = image * params.each + chunk % params.splits * params.chunk;
    let rows = min(params.chunk, (image + 1u) * params.each - row0);
    if (NORM != NO_NORM) {
        for (var i = lane; i < rows; i += 64u) {
            let at = (row0 + i) * params.width;
            var m: Moments;
            m.pivot = x[params.x0 + at].x;
            m.mean = deviations(params.x0 + at, 0u, 1u, m) / f32(params.channels);
            m.rstd = inverseSqrt(squares(params.x0 + at, 0u, 1u, m) / f32(params.channels) + params.eps);
            var u = vec4f();
            var uz = vec4f();
            for (var c = 0u; c < params.width; c++) {
                let v = dy[params.dy0 + at + c] * gamma[own + c];
                u += v;
                uz += v * standard(x[params.x0 + at + c], m);
            }
            let n = f32(params.channels);
            averages[i] = Averages(m, select(0.0, dot(u, vec4f(1.0)) / n, NORM == WITH_BIAS), dot(uz, vec4f(1.0)) / n);
        }
        workgroupBarrier();
    }
    for (var c0 = 0u; c0 < params.width; c0 += 16u) {
        let c = c0 + lane % 16u;
        var along = vec4f();
        var plain = vec4f();
        if (c < params.width) {
            let g = gamma[own + c];
            let live = used(c, params.channels);
            for (var i = lane / 16u; i < rows; i += 4u) {
                let at = (row0 + i) * params.width + c;
                let v = x[params.x0 + at];
                let d = dy[params.dy0 + at];
                let a = averages[i];
                var to = d * g;
                if (NORM != NO_NORM) {
                    to = select(vec4f(), a.m.rstd * (to - a.u - (v - a.m.pivot - a.m.mean) * a.m.rstd * a.uz), live);
                }
                if (bool(params.adds)) { to += add[params.add0 + at]; }
                dx[params.y0 + at] = to;
                along += d * standard(v, a.m);
                plain += d;
            }
        }
        along = part_sum(along, lane);
        plain = part_sum(plain, lane);
        if (lane < 16u && c < params.width) {
            partial[chunk * 2u * params.width + c] = along;
            partial[(chunk * 2u + 1u) * params.width + c] = plain;
        }
    }
}

// affine: gamma and beta of each image, absent ones 1 and 0.
@group(0) @binding(1) var<storage, read> modulation: array<f32>;
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> shift: array<f32>;

@compute @workgroup_size(64)
fn affine(@builtin(global_invocation_id) id: vec3u) {
    let c = id.x;
    if (c >= 4u * params.width) { return; }
    var g = 0.0;
    var h = 0.0;
    if (c < params.channels) {
        g = 1.0;
        if (GAMMA) { g = gamma[c / 4u][c % 4u]; }
        if (BETA) { h = beta[c / 4u][c % 4u]; }
        if (MODULATED) {
            let at = params.row0 + id.y * params.row + c;
            g *= modulation[params.scale0 + at];
            h = h * modulation[params.scale0 + at] + modulation[params.shift0 + at];
        }
    }
    scale[id.y * 4u * params.width + c] = g;
    shift[id.y * 4u * params.width + c] = h;
}

// affine_gradient adds to the gradients of what affine took.
@group(0) @binding(4) var<storage, read> sums: array<f32>;            // [images, 2, C]: of dy * z, of dy
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(64)
fn affine_gradient(@builtin(global_invocation_id) id: vec3u) {
    let c = id.x;
    if (c >= params.channels) { return; }
    let width = 4u * params.width;
    if (GRADIENT == AFFINE_MODULATION) {
        let along = sums[2u * id.y * width + c];
        let plain = sums[(2u * id.y + 1u) * width + c];
        var k1 = along;
        if (GAMMA) { k1 *= gamma[c / 4u][c % 4u]; }
        if (BETA) { k1 += plain * beta[c / 4u][c % 4u]; }
        let at = params.row0 + id.y * params.row + c;
        gradient[params.scale0 + at] += k1;
        gradient[params.shift0 + at] += plain;
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < params.images; i++) {
        var v = sums[(2u * i + GRADIENT) * width + c];
        if (MODULATED) { v *= modulation[params.row0 + i * params.row + params.scale0 + c]; }
        sum += v;
    }
    gradient[c] += sum;
}
