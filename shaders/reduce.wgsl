// reduce: one number of all elements, in a fixed order.
//   value   x itself (mean), |a - b| (F.l1_loss), (a - b)^2 (F.mse_loss),
//           sqrt((a - b)^2 + eps) (BasicSR: CharbonnierLoss), a^2 (norms)
//   part    partial[group] = sum of values          total   y[0] = scale * sum of partial, or its root
//   spread_gradient   da = dy[0] * scale * the value's derivative by a

// import: layout

struct Params {
    total: u32,    // vec4 of a, or entries of partial
    part: u32,     // channels of a part
    part4: u32,    // and as stored, in vec4
    stride: u32,   // invocations of all groups
    a0: u32,       // in vec4
    b0: u32,
    da0: u32,
    eps: f32,
    scale: f32,
}

const OP: LossType = IDENTITY;
const ROOT: bool = false;

// LossType is what is summed, of losses and of other sums.
alias LossType = u32;
const IDENTITY: LossType = 0;          // a
const L1_LOSS: LossType = 1;           // |a - b|
const MSE_LOSS: LossType = 2;          // (a - b)^2
const CHARBONNIER_LOSS: LossType = 3;  // sqrt((a - b)^2 + eps)
const SQUARE: LossType = 4;            // a^2

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

var<workgroup> sums: array<f32, 256>;

// workgroup_sum returns the sum over 256 invocations, to the first of them.
fn workgroup_sum(v: f32, lane: u32) -> f32 {
    sums[lane] = v;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { sums[lane] += sums[lane + half]; }
    }
    return sums[0];
}

fn value(u: vec4f, w: vec4f) -> vec4f {
    switch OP {
        case IDENTITY: { return u; }
        case L1_LOSS: { return abs(u - w); }
        case MSE_LOSS: { return (u - w) * (u - w); }
        case CHARBONNIER_LOSS: { return sqrt((u - w) * (u - w) + params.eps); }
        default: { return u * u; }  // SQUARE
    }
}

@compute @workgroup_size(256)
fn part(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var sum = vec4f();
    for (var i = group.x * 256u + lane; i < params.total; i += params.stride) {
        sum += select(vec4f(), value(a[params.a0 + i], b[params.b0 + i]), used(i % params.part4, params.part));
    }
    let all = workgroup_sum(dot(sum, vec4f(1.0)), lane);
    if (lane == 0u) { partial[group.x] = all; }
}

@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(256)
fn total(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.total; i += 256u) { sum += partials[i]; }
    let all = workgroup_sum(sum, lane) * params.scale;
    if (lane == 0u) { y[0] = vec4f(select(all, sqrt(all), ROOT), 0.0, 0.0, 0.0); }
}

@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<vec4f>;

fn derivative(u: vec4f, w: vec4f) -> vec4f {
    let e = u - w;
    switch OP {
        case IDENTITY: { return vec4f(1.0); }
        case L1_LOSS: { return select(sign(e), e, e != e); } // keeps NaN
        case MSE_LOSS: { return 2.0 * e; }
        default: { return e / sqrt(e * e + params.eps); }  // CHARBONNIER_LOSS
    }
}

@compute @workgroup_size(64)
fn spread_gradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let g = dy[0] * params.scale * derivative(a[params.a0 + i], b[params.b0 + i]);
    da[params.da0 + i] = select(vec4f(), g, used(i % params.part4, params.part));
}
