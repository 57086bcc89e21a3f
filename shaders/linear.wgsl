// linear: matrix product over the last axis, with everything around it fused.
//         PyTorch: F.linear, and F.conv2d with a 1x1 kernel
//   x [images, rows, K]   w [N, K] packed in panels   y [images, rows, N]
//   y = post(act(norm(x) w' + bias) + residual)
//
// Panels: 16 outputs side by side, K after K, zero-padded (see panels.wgsl).
//
// LayerNorm costs no pass of its own: pack.wgsl folds its weight and bias into
// w and bias, and the rows' mean and variance are gathered while multiplying:
//   norm(x) w' = rstd (sum_k (x_k - p) w_k - (mean - p) sum_k w_k)
// with the row's first channel as pivot p. LayerNorm does not change when x is
// shifted, and no value of C lies further than sqrt(C-1) deviations from the
// mean (Samuelson's inequality), so E[x^2] - E[x]^2 loses at most a factor C,
// however large the common mean.
//
// Entry points differ in where tiles live: direct reads storage, windowed
// reads weights through 64 KiB uniform windows (fast on software Vulkan, where
// a uniform load is a broadcast and a storage load a gather), tiled stages
// both sides in workgroup memory (hardware GPUs). They lay rows over
// invocations; few lays k over them, for tokens. Software Vulkan with eight
// lanes has linear_rows.wgsl, and few for tokens.

// import: activation
// import: layout
// import: norm
// import: panels
// import: residual

struct Params {
    rows: u32,      // per image
    k4: u32,        // K / 4
    n4: u32,        // N / 4
    k: u32,         // channels LayerNorm averages over, without padding
    x0: u32,        // offsets and row strides, in vec4
    xs: u32,
    r0: u32,
    rs: u32,
    y0: u32,
    ys: u32,
    w0: u32,        // panels, in vec4
    ws: u32,        // from image to image; 0 if all share the weights
    e0: u32,        // epilogue vectors, in vec4
    es: u32,
    per_window: u32,
    act: ActKind,   // before the residual
    post: ActKind,  // after the residual
    add: ResidualKind,
    slope: f32,     // of LeakyReLU
    eps: f32,
    recip: f32,     // reverse diffusion: sqrt(1/a), sqrt(1/a - 1), and the
    recipm1: f32,   // posterior mean's coefficients of x0 and x
    coef1: f32,
    coef2: f32,
}

const NORM: Norm = NO_NORM;
const DEPTH: u32 = 0;       // of few's weights, see panels.wgsl; the others have 0

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> epilogue: array<vec4f>;  // bias [N], then sums of w [N]
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<storage, read> w: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

@group(0) @binding(4) var<uniform> w_0: array<vec4f, 4096>;
@group(0) @binding(5) var<uniform> w_1: array<vec4f, 4096>;
@group(0) @binding(6) var<uniform> w_2: array<vec4f, 4096>;
@group(0) @binding(7) var<uniform> w_3: array<vec4f, 4096>;
@group(0) @binding(8) var<uniform> w_4: array<vec4f, 4096>;
@group(0) @binding(9) var<uniform> w_5: array<vec4f, 4096>;
@group(0) @binding(10) var<uniform> w_6: array<vec4f, 4096>;
@group(0) @binding(11) var<uniform> w_7: array<vec4f, 4096>;
@group(0) @binding(12) var<storage, read_write> yw: array<vec4f>;

// Stats are the pivot and the running sums of one row's shifted values.
struct Stats { pivot: f32, sum: f32, squares: f32 }

// depth is the number of k to go through: LayerNorm must not see padding.
fn depth() -> u32 {
    return select(params.k4 * 4u, params.k, NORM != NO_NORM);
}

// finish turns four products of a row into four outputs, but for the residual.
fn finish(acc: vec4f, s: Stats, column: u32, e: u32) -> vec4f {
    var v = acc;
    if (NORM != NO_NORM) {
        let mean = s.sum / f32(params.k);
        let rstd = inverseSqrt(max(s.squares / f32(params.k) - mean * mean, 0.0) + params.eps);
        let centre = select(mean, -s.pivot, NORM == BIAS_FREE);
        v = rstd * (v - centre * epilogue[e + params.n4 + column]);
    }
    return activate(params.act, v + epilogue[e + column], params.slope);
}

fn add_residual(v: vec4f, row: u32, column: u32) -> vec4f {
    if (params.add == RESIDUAL_NONE || params.add == RESIDUAL_IN_PLACE) { return v; }
    return residual_with(params.add, v, residual[params.r0 + row * params.rs + column], vec4f(params.recip, params.recipm1, params.coef1, params.coef2));
}

// store finishes four outputs, for the entry points whose output is y.
fn store(acc: vec4f, s: Stats, row: u32, column: u32, e: u32) {
    if (column >= params.n4) { return; }
    var v = add_residual(finish(acc, s, column, e), row, column);
    let at = params.y0 + row * params.ys + column;
    if (params.add == RESIDUAL_IN_PLACE) { v += y[at]; }
    y[at] = activate(params.post, v, params.slope);
}

// --- direct and windowed: 4 rows x 16 outputs per invocation ----------------

struct Tile {
    a0: mat4x4f, a1: mat4x4f, a2: mat4x4f, a3: mat4x4f,  // a row's 16 outputs each
    s0: Stats, s1: Stats, s2: Stats, s3: Stats,
    x0: u32, x1: u32, x2: u32, x3: u32,                  // where the rows start
}

fn start(t: ptr<function, Tile>, first: u32, image: u32) {
    let last = params.rows - 1u;
    let base = image * params.rows;
    (*t).x0 = params.x0 + (base + min(first, last)) * params.xs;
    (*t).x1 = params.x0 + (base + min(first + 1u, last)) * params.xs;
    (*t).x2 = params.x0 + (base + min(first + 2u, last)) * params.xs;
    (*t).x3 = params.x0 + (base + min(first + 3u, last)) * params.xs;
    if (NORM != NO_NORM) {
        (*t).s0.pivot = x[(*t).x0].x;
        (*t).s1.pivot = x[(*t).x1].x;
        (*t).s2.pivot = x[(*t).x2].x;
        (*t).s3.pivot = x[(*t).x3].x;
    }
}

// advance multiplies one k of four rows by 16 outputs.
fn advance(t: ptr<function, Tile>, k: u32, m: mat4x4f) {
    let k4 = k / 4u;
    let j = k % 4u;
    let v0 = x[(*t).x0 + k4][j] - (*t).s0.pivot;
    let v1 = x[(*t).x1 + k4][j] - (*t).s1.pivot;
    let v2 = x[(*t).x2 + k4][j] - (*t).s2.pivot;
    let v3 = x[(*t).x3 + k4][j] - (*t).s3.pivot;
    (*t).a0 += v0 * m;
    (*t).a1 += v1 * m;
    (*t).a2 += v2 * m;
    (*t).a3 += v3 * m;
    if (NORM != NO_NORM) {
        (*t).s0.sum += v0; (*t).s0.squares += v0 * v0;
        (*t).s1.sum += v1; (*t).s1.squares += v1 * v1;
        (*t).s2.sum += v2; (*t).s2.squares += v2 * v2;
        (*t).s3.sum += v3; (*t).s3.squares += v3 * v3;
    }
}

@compute @workgroup_size(64)
fn direct(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * 64u + lane) * 4u;
    if (first >= params.rows) { return; } // software Vulkan passes over vectors of lanes that have all returned
    var t: Tile;
    let panel = group.y;
    start(&t, first, group.z);
    var i = params.w0 + group.z * params.ws + panel * params.k4 * 16u;
    let end = depth();
    for (var k = 0u; k < end; k++) {
        advance(&t, k, mat4x4f(w[i], w[i + 1u], w[i + 2u], w[i + 3u]));
        i += 4u;
    }
    let e = params.e0 + group.z * params.es;
    for (var r = 0u; r < 4u; r++) {
        if (first + r >= params.rows) { return; }
        let row = group.z * params.rows + first + r;
        var a = t.a0;
        var s = t.s0;
        if (r == 1u) { a = t.a1; s = t.s1; }
        if (r == 2u) { a = t.a2; s = t.s2; }
        if (r == 3u) { a = t.a3; s = t.s3; }
        for (var j = 0u; j < 4u; j++) { store(a[j], s, row, panel * 4u + j, e); }
    }
}

fn window_0(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_0[i], w_0[i + 1u], w_0[i + 2u], w_0[i + 3u]));
        i += 4u;
    }
}
fn window_1(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_1[i], w_1[i + 1u], w_1[i + 2u], w_1[i + 3u]));
        i += 4u;
    }
}
fn window_2(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_2[i], w_2[i + 1u], w_2[i + 2u], w_2[i + 3u]));
        i += 4u;
    }
}
fn window_3(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_3[i], w_3[i + 1u], w_3[i + 2u], w_3[i + 3u]));
        i += 4u;
    }
}
fn window_4(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_4[i], w_4[i + 1u], w_4[i + 2u], w_4[i + 3u]));
        i += 4u;
    }
}
fn window_5(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_5[i], w_5[i + 1u], w_5[i + 2u], w_5[i + 3u]));
        i += 4u;
    }
}
fn window_6(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_6[i], w_6[i + 1u], w_6[i + 2u], w_6[i + 3u]));
        i += 4u;
    }
}
fn window_7(t: ptr<function, Tile>, at: u32, end: u32) {
    var i = at;
    for (var k = 0u; k < end; k++) {
        advance(t, k, mat4x4f(w_7[i], w_7[i + 1u], w_7[i + 2u], w_7[i + 3u]));
        i += 4u;
    }
}

@compute @workgroup_size(64)
fn windowed(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * 64u + lane) * 4u;
    if (first >= params.rows) { return; }
    var t: Tile;
    start(&t, first, 0u);
    let end = depth();
    let window = group.y / params.per_window;
    let at = (group.y % params.per_window) * params.k4 * 16u;
    if (window == 0u) { window_0(&t, at, end); }
    if (window == 1u) { window_1(&t, at, end); }
    if (window == 2u) { window_2(&t, at, end); }
    if (window == 3u) { window_3(&t, at, end); }
    if (window == 4u) { window_4(&t, at, end); }
    if (window == 5u) { window_5(&t, at, end); }
    if (window == 6u) { window_6(&t, at, end); }
    if (window == 7u) { window_7(&t, at, end); }
    for (var r = 0u; r < 4u; r++) {
        let row = first + r;
        if (row >= params.rows) { return; }
        var a = t.a0;
        var s = t.s0;
        if (r == 1u) { a = t.a1; s = t.s1; }
        if (r == 2u) { a = t.a2; s = t.s2; }
        if (r == 3u) { a = t.a3; s = t.s3; }
        for (var j = 0u; j < 4u; j++) {
            let column = group.y * 4u + j;
            if (column < params.n4) {
                var v = add_residual(finish(a[j], s, column, params.e0), row, column);
                let to = params.y0 + row * params.ys + column;
                if (params.add == RESIDUAL_IN_PLACE) { v += yw[to]; }
                yw[to] = activate(params.post, v, params.slope);
            }
        }
    }
}

// --- tiled: 128 rows x 64 outputs per workgroup, 8 x 8 per invocation -------

const STAGE: u32 = 4;                             // vec4 of k per stage
var<workgroup> left: array<f32, 2048>;            // [16 k][128 rows]
var<workgroup> right: array<vec4f, 256>;          // [16 k][16 vec4 of outputs]
var<workgroup> row_stats: array<vec3f, 128>;      // pivot, sum, squares; of few [4 rows][32 invocations]

@compute @workgroup_size(128)
fn tiled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * 128u;
    let mine = params.x0 + (group.z * params.rows + min(base + lane, params.rows - 1u)) * params.xs;
    var s: Stats;
    if (NORM != NO_NORM) { s.pivot = x[mine].x; }
    let across = lane % 8u;
    let down = lane / 8u;
    var acc: array<vec4f, 16>;
    for (var i = 0u; i < 16u; i++) { acc[i] = vec4f(); }
    let panel = group.y * 4u;
    for (var k0 = 0u; k0 < params.k4; k0 += STAGE) {
        for (var i = 0u; i < STAGE; i++) {
            var v = vec4f();
            if (k0 + i < params.k4) {
                v = x[mine + k0 + i];
                if (NORM != NO_NORM) {
                    let padding = vec4u(4u * (k0 + i)) + vec4u(0u, 1u, 2u, 3u) >= vec4u(params.k);
                    v = select(v - s.pivot, vec4f(), padding);
                    s.sum += dot(v, vec4f(1.0));
                    s.squares += dot(v, v);
                }
            }
            left[(4u * i) * 128u + lane] = v.x;
            left[(4u * i + 1u) * 128u + lane] = v.y;
            left[(4u * i + 2u) * 128u + lane] = v.z;
            left[(4u * i + 3u) * 128u + lane] = v.w;
        }
        for (var i = lane; i < 256u; i += 128u) {
            let k = i / 16u;
            let p = panel + (i % 16u) / 4u;
            var v = vec4f();
            if (k0 * 4u + k < params.k4 * 4u && p * 4u < params.n4) {
                v = w[params.w0 + group.z * params.ws + (p * params.k4 * 4u + k0 * 4u + k) * 4u + i % 4u];
            }
            right[i] = v;
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let b0 = right[k * 16u + across];
            let b1 = right[k * 16u + across + 8u];
            let at = k * 128u + down;
            for (var r = 0u; r < 8u; r++) {
                let a = left[at + 16u * r];
                acc[2u * r] = fma(vec4f(a), b0, acc[2u * r]);
                acc[2u * r + 1u] = fma(vec4f(a), b1, acc[2u * r + 1u]);
            }
        }
        workgroupBarrier();
    }
    row_stats[lane] = vec3f(s.pivot, s.sum, s.squares);
    workgroupBarrier();
    let e = params.e0 + group.z * params.es;
    for (var r = 0u; r < 8u; r++) {
        let local = down + 16u * r;
        if (base + local < params.rows) {
            let row = group.z * params.rows + base + local;
            let stats = Stats(row_stats[local].x, row_stats[local].y, row_stats[local].z);
            for (var j = 0u; j < 2u; j++) { store(acc[2u * r + j], stats, row, panel * 4u + across + 8u * j, e); }
        }
    }
}

// --- few: 4 rows x 32 outputs per workgroup, 16 invocations share a panel's k --

const SHARES: u32 = 16;
var<workgroup> shares: array<mat4x4f, 128>;       // [4 rows][2 panels][SHARES]

// share hands over what an invocation has summed of a row.
fn share(at: u32, a: mat4x4f, s: Stats) {
    shares[at] = a;
    if (NORM != NO_NORM) { row_stats[at] = vec3f(s.pivot, s.sum, s.squares); }
}

@compute @workgroup_size(32)
fn few(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let blocks = (params.rows + 3u) / 4u;
    let first = number(group) % blocks * 4u;
    let panels = number(group) / blocks * 2u;
    if (panels * 4u >= params.n4) { return; }
    var t: Tile;
    start(&t, first, group.z);
    let panel = min(panels + lane / SHARES, (params.n4 - 1u) / 4u);  // past the last, it once more
    let w0 = params.w0 + group.z * params.ws;
    let apart = max(DEPTH, 1u);
    let end = depth();
    for (var k = lane % SHARES; k < end; k += SHARES) {
        let i = w0 + packed4(panel * 4u, k, params.k4 * 4u, (params.n4 + 3u) / 4u, DEPTH);
        advance(&t, k, mat4x4f(w[i], w[i + apart], w[i + 2u * apart], w[i + 3u * apart]));
    }
    share(lane, t.a0, t.s0);
    share(32u + lane, t.a1, t.s1);
    share(64u + lane, t.a2, t.s2);
    share(96u + lane, t.a3, t.s3);
    workgroupBarrier();
    let r = lane / 8u;
    let column = lane % 8u;
    if (first + r >= params.rows) { return; }
    let at = 32u * r + column / 4u * SHARES;
    var v = vec4f();
    var s: Stats;
    if (NORM != NO_NORM) { s.pivot = row_stats[at].x; }
    for (var i = at; i < at + SHARES; i++) {
        v += shares[i][column % 4u];
        if (NORM != NO_NORM) { s.sum += row_stats[i].y; s.squares += row_stats[i].z; }
    }
    store(v, s, group.z * params.rows + first + r, panels * 4u + column, params.e0 + group.z * params.es);
}
