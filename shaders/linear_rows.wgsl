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
//
// conv is the convolution of conv3x3.wgsl in the same way: rows are pixels, and K
// nine taps of channels. Where parts are small, a dispatch takes several.

// import: activation
// import: convstore
// import: layout
// import: norm
// import: residual

struct Params {
    rows: u32,      // per image; conv: pixels of y before any shuffle
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
    height: u32,    // conv: of the image, and its pixels in a row
    width: u32,
    out_row: u32,   // first row of y and of x, as in conv3x3.wgsl
    in_row: u32,
    parts: u32,     // of this dispatch, and of all K
    all_parts: u32,
    part_w: u32,    // weights of a part, in vec4
    channels: u32,  // logical outputs
}

const NORM: Norm = NO_NORM;
const DEPTH: u32 = 48;  // inputs of a part, a multiple of 8
const ROWS: u32 = 4;
const STORE: ConvStore = PLAIN;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> epilogue: array<f32>;  // bias [N], then sums of w [N]
@group(0) @binding(3) var<storage, read> residual: array<vec4f>;
@group(0) @binding(4) var<uniform> weights: array<vec4f, 4096>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4f>;

alias Inputs = array<array<vec4f, DEPTH / 4>, ROWS>;

// four_outputs multiplies a part's inputs by the weights of four outputs from w on,
// of which each lane is at its own.
fn four_outputs(v: ptr<function, Inputs>, w: u32, lane: u32) -> array<vec4f, ROWS> {
    var a = array<array<f32, 4>, ROWS>(); // scalars
    for (var k = 0u; k < DEPTH; k += 2u) { // unroll
        let eight = weights[w + k][lane % 4u];
        for (var i = 0u; i < 8u; i++) { // unroll
            let one = subgroupBroadcast(eight, i);
            for (var r = 0u; r < ROWS; r++) { // unroll
                a[r][i % 4u] += (*v)[r][(k + i / 4u) / 4u][(k + i / 4u) % 4u] * one;
            }
        }
    }
    var o: array<vec4f, ROWS>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        o[r] = vec4f(a[r][0], a[r][1], a[r][2], a[r][3]);
    }
    return o;
}

// Epilogue has what is the same for all rows of four outputs.
struct Epilogue { bias: vec4f, sums: vec4f }

fn epilogue_of(at: u32, lane: u32) -> Epilogue {
    let own = epilogue[at + lane % 4u + lane / 4u * params.sums0];
    return Epilogue(
        vec4f(subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u)),
        vec4f(subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u)));
}

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
    var v: Inputs;
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
        var o = four_outputs(&v, w, lane);
        w += DEPTH;
        let column = params.panel + n;
        // A branch that all sums pass keeps the compiler from computing them one after another.
        if (params.carry != 0u) {
            for (var r = 0u; r < ROWS; r++) { // unroll
                o[r] += y[params.y0 + row[r] * params.ys + column];
            }
        }
        if (params.finish != 0u) {
            let e = epilogue_of(params.e0 + group.z * params.es + column * 4u, lane);
            for (var r = 0u; r < ROWS; r++) { // unroll
                if (NORM != NO_NORM) {
                    let mean = sum[r] / f32(params.k);
                    let rstd = inverseSqrt(max(squares[r] / f32(params.k) - mean * mean, 0.0) + params.eps);
                    o[r] = rstd * (o[r] - select(mean, -pivot[r], NORM == BIAS_FREE) * e.sums);
                }
                o[r] = activate(params.act, o[r] + e.bias, params.slope);
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

// pixel returns the row and the column of pixel p, counted from y's first. Four of an
// unshuffled map are those that become one.
fn pixel(p: u32) -> vec2u {
    if (STORE != UNSHUFFLED) { return vec2u(p / params.width, p % params.width); }
    let across = params.width / 2u;
    return vec2u(p / 4u / across * 2u + p % 4u / 2u, p / 4u % across * 2u + p % 2u);
}

@compute @workgroup_size(8)
fn conv(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let begin = number(group) % params.shares * params.share;
    let end = min(begin + params.share, params.panels);
    let first = (number(group) / params.shares * 8u + lane) * ROWS;
    var above = array<u32, ROWS>(); // scalars
    var left = array<u32, ROWS>(); // scalars
    var start = array<u32, ROWS>(); // scalars
    var to = array<u32, ROWS>(); // scalars
    for (var r = 0u; r < ROWS; r++) { // unroll
        let at = pixel(min(first + r, params.rows - 1u));
        above[r] = (params.out_row + at.x) % params.height; // rows and columns of the image before the pixel's
        left[r] = at.y;
        start[r] = params.out_row + at.x - params.in_row - above[r]; // of the image, in x; less than none in a band
        to[r] = at.x * params.width + at.y;
        if (STORE == SHUFFLED) { to[r] = 2u * (at.x * 2u * params.width + at.y); }
        if (STORE == UNSHUFFLED) { to[r] = at.x / 2u * (params.width / 2u) + at.y / 2u; }
        to[r] = params.y0 + to[r] * params.ys;
    }

    for (var part = params.part; part < params.part + params.parts; part++) {
        var v: Inputs;
        let tap = part * (DEPTH / 4u) / params.xs;
        var c = part * (DEPTH / 4u) % params.xs;
        var dy = tap / 3u;
        var dx = tap % 3u;
        for (var q = 0u; q < params.to_k4; q++) { // a loop to the compiler, too, which does not know the end
            for (var r = 0u; r < ROWS; r++) { // unroll
                let row = clamp(above[r] + dy, 1u, params.height); // counted from one before the image
                let column = clamp(left[r] + dx, 1u, params.width);
                let inside = row == above[r] + dy && column == left[r] + dx && dy < 3u;
                v[r][q] = select(vec4f(), x[params.x0 + ((start[r] + row - 1u) * params.width + column - 1u) * params.xs + c], inside);
            }
            c++;
            if (c == params.xs) {
                c = 0u;
                dx++;
                if (dx == 3u) {
                    dx = 0u;
                    dy++;
                }
            }
        }

        var w = params.w0 + (part - params.part) * params.part_w + begin * DEPTH + lane / 4u;
        for (var n = begin; n < end; n++) {
            var o = four_outputs(&v, w, lane);
            w += DEPTH;
            let column = params.panel + n;
            var on = array<u32, ROWS>(); // scalars
            for (var r = 0u; r < ROWS; r++) { // unroll
                on[r] = to[r] + column;
                if (STORE == SHUFFLED) {
                    let sub = 4u * column / params.channels;
                    on[r] = to[r] + (sub / 2u * 2u * params.width + sub % 2u) * params.ys + column - sub * params.channels / 4u;
                }
                if (STORE == UNSHUFFLED) { on[r] = to[r] + 4u * column + r; }
            }
            if (STORE == UNSHUFFLED) {
                let m = transpose(mat4x4f(o[0], o[1], o[2], o[ROWS - 1u]));
                for (var r = 0u; r < ROWS; r++) { // unroll
                    o[r] = m[r];
                }
            }
            if (part > 0u) {
                for (var r = 0u; r < ROWS; r++) { // unroll
                    o[r] += y[on[r]];
                }
            }
            if (part + 1u == params.all_parts) {
                let bias = epilogue_of(params.e0 + column * 4u, lane).bias;
                for (var r = 0u; r < ROWS; r++) { // unroll
                    o[r] = activate(params.act, o[r] + select(bias, vec4f(bias[r]), STORE == UNSHUFFLED), params.slope);
                    if (params.add != RESIDUAL_NONE) { o[r] += residual[params.r0 + on[r] - params.y0]; }
                }
            }
            for (var r = 0u; r < ROWS; r++) { // unroll
                if (first + r < params.rows && (STORE != UNSHUFFLED || 4u * column + r < params.channels)) { y[on[r]] = o[r]; }
            }
        }
    }
}
