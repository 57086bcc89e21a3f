// pointwise: one value in, one value out, on [rows, C].
//   add a + b   mul a * b   clamp min(max(a, lo), hi)   activate act(a)
//   blend lo * a + hi * b
//   gate        gelu(a) * b, with a and b the halves of a row     (GDFN; PyTorch: F.gelu(x1) * x2)
//   scale_shift a * k + s, with k and s [N, C] of the row's image
//   gradients, with b that of y:  clamp b where lo <= a <= hi   activate b * act'(a)
//   gate_gradient  with the halves u, v of a row of a: b * v * gelu'(u), then b * gelu(u)
//   accumulate  y += a

// import: activation
// import: layout

struct Params {
    total: u32,      // vec4 to write
    width: u32,      // vec4 of a stored row of y
    part: u32,       // channels of a part
    part4: u32,      // and as stored, in vec4
    rows: u32,       // rows per image
    stride: u32,     // vec4 of a stored row of a and b
    a0: u32,         // in vec4
    b0: u32,
    y0: u32,
    s0: u32,
    lo: f32,
    hi: f32,
    slope: f32,
}

const OP: PointwiseOp = OP_ADD;
const ACT: ActKind = ACT_NONE;

alias PointwiseOp = u32;
const OP_ADD: PointwiseOp = 0;
const OP_MUL: PointwiseOp = 1;
const OP_CLAMP: PointwiseOp = 2;
const OP_ACTIVATE: PointwiseOp = 3;
const OP_GATE: PointwiseOp = 4;
const OP_CLAMP_GRADIENT: PointwiseOp = 5;
const OP_ACTIVATE_GRADIENT: PointwiseOp = 6;
const OP_BLEND: PointwiseOp = 7;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn pointwise(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let c = i % params.width;
    let source = i / params.width * params.stride + c;
    let u = a[params.a0 + source];
    let w = b[params.b0 + source];
    var v = u;
    switch OP {
        case OP_ADD: { v = u + w; }
        case OP_MUL: { v = u * w; }
        case OP_CLAMP: { v = select(vec4f(), keep_nan(clamp(u, vec4f(params.lo), vec4f(params.hi)), u), used(c % params.part4, params.part)); }
        case OP_ACTIVATE: { v = keep_nan(activate(ACT, u, params.slope), u); }
        case OP_CLAMP_GRADIENT: { v = select(vec4f(), w, (u >= vec4f(params.lo)) & (u <= vec4f(params.hi))); }
        case OP_ACTIVATE_GRADIENT: { v = w * activate_gradient(ACT, u, params.slope); }
        case OP_BLEND: { v = params.lo * u + params.hi * w; }
        default: { v = gelu(u) * w; }  // OP_GATE
    }
    y[params.y0 + i] = v;
}

@compute @workgroup_size(64)
fn gate_gradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane; // of b
    if (i >= params.total) { return; }
    let to = i / params.width * 2u * params.width + i % params.width;
    let u = a[params.a0 + to];
    let v = a[params.a0 + to + params.width];
    let w = b[params.b0 + i];
    y[params.y0 + to] = w * v * gelu_gradient(u);
    y[params.y0 + to + params.width] = w * gelu(u);
}

@group(0) @binding(2) var<storage, read_write> sum: array<vec4f>;

@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i < params.total) { sum[params.y0 + i] += a[params.a0 + i]; }
}

@group(0) @binding(3) var<storage, read> shift: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> shifted: array<vec4f>;

@compute @workgroup_size(64)
fn scale_shift(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let at = i / params.width / params.rows * params.width + i % params.width;
    shifted[params.y0 + i] = a[params.a0 + i] * b[params.b0 + at] + shift[params.s0 + at];
}
