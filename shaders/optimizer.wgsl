// optimizer: Adam, AdamW and the global clip of gradients, on flat arrays.
//            PyTorch: torch.optim.Adam, torch.optim.AdamW, clip_grad_norm_
//   p, g, m, v [n]   norm, coefficient [1]
//   coefficient = min(1, limit / (norm + 1e-6)),  g' = g * coefficient;
//   -1 if the norm is not finite: the step is skipped, counted in skipped[0], and the first
//   such iteration noted in skipped[1]
//   Adam: g' += decay * p;  AdamW: p *= shrink (1 - lr * decay)
//   m = beta1 m + (1 - beta1) g';  v = beta2 v + (1 - beta2) g'^2
//   p -= step * m / (sqrt(v) * root + eps)
//   with step = lr / (1 - beta1^t) and root = 1 / sqrt(1 - beta2^t)
//   ema: average += (1 - beta1) (p - average)        BasicSR: model_ema
// Nothing is read back: the coefficient stays on the device.

// import: layout

struct Params {
    total: u32,    // vec4
    p0: u32,       // in vec4
    g0: u32,
    m0: u32,
    v0: u32,
    stop: u32,     // clip_coefficient: 1 if the first skipped step stops all
    limit: f32,
    decay: f32,
    shrink: f32,
    beta1: f32,
    rest1: f32,    // 1 - beta1, rounded once
    beta2: f32,
    rest2: f32,
    step: f32,
    root: f32,
    eps: f32,
    iteration: f32,  // clip_coefficient: of this step
}

const CLIPPED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<vec4f>;
@group(0) @binding(2) var<storage, read> coefficient: array<f32>;
@group(0) @binding(3) var<storage, read_write> p: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4f>;

@compute @workgroup_size(64)
fn adam(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let value = p[params.p0 + i];
    var gradient = g[params.g0 + i];
    if (CLIPPED) {
        if (coefficient[0] < 0.0) { return; }
        gradient *= coefficient[0];
    }
    gradient += params.decay * value;
    let first = params.beta1 * m[params.m0 + i] + params.rest1 * gradient;
    let second = params.beta2 * v[params.v0 + i] + params.rest2 * gradient * gradient;
    m[params.m0 + i] = first;
    v[params.v0 + i] = second;
    p[params.p0 + i] = value * params.shrink - params.step * first / (sqrt(second) * params.root + params.eps);
}

@group(0) @binding(2) var<storage, read_write> average: array<vec4f>;

@compute @workgroup_size(64)
fn ema(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let before = average[params.p0 + i];
    average[params.p0 + i] = before + params.rest1 * (g[params.g0 + i] - before);
}

@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> clip: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> skipped: array<vec4f>;

@compute @workgroup_size(1)
fn clip_coefficient() {
    let c = min(params.limit / (norm[0] + 1e-6), 1.0);
    let before = skipped[0];
    let stopped = bool(params.stop) && before.x > 0.0;
    let bad = stopped || (bitcast<u32>(norm[0]) & 0x7f800000u) == 0x7f800000u;
    clip[0] = vec4f(select(c, -1.0, bad), 0.0, 0.0, 0.0);
    if (bad) {
        skipped[0] = vec4f(before.x + 1.0, select(before.y, params.iteration, before.x == 0.0), 0.0, 0.0);
    }
}
