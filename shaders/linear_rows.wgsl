// linear_rows: the product of linear.wgsl, for software Vulkan whose subgroups
//              have eight lanes.
//   x [images, rows, K]   weights [K/DEPTH][N/4][DEPTH][4] (panels.wgsl)   y [images, rows, N]
//   y = post(act(norm(x) w' + bias) + residual)
//
// Lanes are rows, ROWS for each. There a load of a value for each lane costs as
// much as some forty products, so: an invocation loads DEPTH inputs of its rows
// once, for all outputs of a dispatch; eight weights come with one load from a
// uniform window, a lane having one each, and are spread by broadcast; and all of
// k is written out, so that sums are in registers and the inputs are operands
// in memory. A dispatch multiplies DEPTH of the K inputs by the outputs whose
// weights fit into its window. The first stores sums, others add to them,
// and the last of a row finishes it; LayerNorm is folded in as in linear.wgsl.

// import: activation
// import: layout
// import: norm
// import: residual

struct Params {
    rows: u32,      // per image
    k: u32,         // channels LayerNorm averages over, without padding
    k4: u32,        // K / 4
    x0: u32,        // offsets and row strides, in vec4
    xs: u32,
    r0: u32,
    rs: u32,
    y0: u32,
    ys: u32,
    w0: u32,        // the weights in the window, in vec4, and from image to image
    ws: u32,
    e0: u32,        // epilogue vectors, in floats
    es: u32,
    sums0: u32,     // from a bias to the sum of the same output's weights
    panel: u32,     // first output / 4
    panels: u32,    // outputs / 4
    share: u32,     // and of a workgroup; several share rows
    shares: u32,
    part: u32,      // first input / 4
    from_k4: u32,   // what is read of a row: all of it where LayerNorm is finished, else the part
    to_k4: u32,
    carry: u32,     // y holds sums already
    finish: u32,    // nothing more is to be added
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
const DEPTH: u32 = 48;  // inputs of a part, a multiple of 8
const ROWS: u32 = 4;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> epilogue: array<f32>;  // bias [N], then sums of w [N]
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<uniform> weights: array<vec4f, 4096>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(8)
fn rows(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let begin = number(group) % params.shares * params.share;
    let end = min(begin + params.share, params.panels);
    let first = (number(group) / params.shares * 8u + lane) * ROWS;
    var row = array<u32, ROWS>(); // scalars
    var pivot = array<f32, ROWS>(); // scalars
    var sum = array<f32, ROWS>(); // scalars
    var squares = array<f32, ROWS>(); // scalars
    for (var r = 0u; r < ROWS; r++) { // unroll
        row[r] = group.z * params.rows + min(first + r, params.rows - 1u);
        if (NORM != NO_NORM) { pivot[r] = x[params.x0 + row[r] * params.xs].x; }
    }

    // An array that a loop fills costs one load's code, and read with constant
    // indices it is as good as variables.
    var v: array<array<vec4f, DEPTH / 4>, ROWS>;
    for (var q = params.from_k4; q < params.to_k4; q++) {
        for (var r = 0u; r < ROWS; r++) { // unroll
            var u = x[params.x0 + row[r] * params.xs + min(q, params.k4 - 1u)];
            if (NORM != NO_NORM) {
                u = select(vec4f(), u - pivot[r], used(q, params.k));
                sum[r] += dot(u, vec4f(1.0));
                squares[r] += dot(u, u);
            } else {
                u = select(vec4f(), u, q < params.k4);
            }
            if (NORM == NO_NORM || q - params.part < DEPTH / 4u) { v[r][q - params.part] = u; }
        }
    }

    let step = vec4f(params.recip, params.recipm1, params.coef1, params.coef2);
    var w = params.w0 + group.z * params.ws + begin * DEPTH + lane / 4u;
    for (var n = begin; n < end; n++) {
        var a = array<array<f32, 4>, ROWS>(); // scalars
        for (var k = 0u; k < DEPTH; k += 2u) { // unroll
            let eight = weights[w + k][lane % 4u];
            for (var i = 0u; i < 8u; i++) { // unroll
                let one = subgroupBroadcast(eight, i);
                for (var r = 0u; r < ROWS; r++) { // unroll
                    a[r][i % 4u] += v[r][(k + i / 4u) / 4u][(k + i / 4u) % 4u] * one;
                }
            }
        }
        w += DEPTH;
        let column = params.panel + n;
        var o = array<vec4f, ROWS>(); // scalars
        for (var r = 0u; r < ROWS; r++) { // unroll
            o[r] = vec4f(a[r][0], a[r][1], a[r][2], a[r][3]);
        }
        // A branch that all sums pass keeps the compiler from computing them one after another.
        if (params.carry != 0u) {
            for (var r = 0u; r < ROWS; r++) { // unroll
                o[r] += y[params.y0 + row[r] * params.ys + column];
            }
        }
        if (params.finish != 0u) {
            let own = epilogue[params.e0 + group.z * params.es + column * 4u + lane % 4u + lane / 4u * params.sums0];
            let bias = vec4f(subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u));
            let sums = vec4f(subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u));
            for (var r = 0u; r < ROWS; r++) { // unroll
                if (NORM != NO_NORM) {
                    let mean = sum[r] / f32(params.k);
                    let rstd = inverseSqrt(max(squares[r] / f32(params.k) - mean * mean, 0.0) + params.eps);
                    o[r] = rstd * (o[r] - select(mean, -pivot[r], NORM == BIAS_FREE) * sums);
                }
                o[r] = activate(params.act, o[r] + bias, params.slope);
                if (params.add != RESIDUAL_NONE) {
                    o[r] = residual_with(params.add, o[r], residual[params.r0 + row[r] * params.rs + column], step);
                }
                o[r] = activate(params.post, o[r], params.slope);
            }
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            if (first + r < params.rows) { y[params.y0 + row[r] * params.ys + column] = o[r]; }
        }
    }
}
