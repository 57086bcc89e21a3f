// reverse: the gradient of a reverse diffusion step, which linear.wgsl takes
//          behind the denoiser's last layer.   Source: HI-Diff's p_sample
//   e = act(h)   x0 = clamp(recip x - recipm1 e, -1, 1), or e   y = coef1 x0 + coef2 x
//   h, x, dy, dh, dx [total]

// import: activation
// import: layout

struct Params {
    total: u32,    // vec4
    h0: u32,       // in vec4
    x0: u32,
    dy0: u32,
    recip: f32,
    recipm1: f32,
    coef1: f32,
    coef2: f32,
    slope: f32,
}

const ACT: ActKind = ACT_NONE;
const NOISE: bool = false;  // e is predicted noise

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dh: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(64)
fn reverse_gradient(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let i = number(group) * 64u + lane;
    if (i >= params.total) { return; }
    let before = h[params.h0 + i];
    let g = dy[params.dy0 + i];
    var de = params.coef1 * g;
    var direct = params.coef2 * g;
    if (NOISE) {
        let start = params.recip * x[params.x0 + i] - params.recipm1 * activate(ACT, before, params.slope);
        de = select(vec4f(), de, abs(start) <= vec4f(1.0));
        direct += params.recip * de;
        de *= -params.recipm1;
    }
    dh[i] = de * activate_gradient(ACT, before, params.slope);
    dx[i] = direct;
}
