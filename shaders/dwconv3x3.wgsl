// dwconv3x3: depthwise 3x3 convolution, zero padding 1, on images [N, H, W, C].
//            PyTorch: F.conv2d(x, w, b, padding=1, groups=C)
//   x [N, rows + halo, W, C]   taps [10, C]: nine taps, then the bias   y [N, rows, W, C]
// gate: the channels are two halves a, b, and
//   y = gelu(dw(a)) * dw(b)     [N, rows, W, C/2]     (GDFN, between its 1x1s)
//
// A band is some rows of one image, or whole images. Its neighbours' rows are in
// x where the image goes on, so what x lacks is zero padding.

// import: activation

struct Params {
    width: u32,
    c4: u32,      // stored channels of x / 4
    rows: u32,    // of each image of y
    in_rows: u32, // of each image of x
    above: u32,   // rows of x above y's first
    x0: u32,      // in vec4
    y0: u32,
    z0: u32,      // of the third tensor, where there is one
    tiles: u32,   // rows of y, or back's tiles
    step: u32,    // rows that a step along the second axis of workgroups covers, or tiles
    part: u32,    // collect: channels of a part, and as stored
    padded: u32,
    first: u32,   // collect: the first tap
    count: u32,   // and how many
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> taps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

// Four holds the outputs of four neighbouring pixels, one vec4 of channels.
alias Four = mat4x4f;

fn column(start: u32, at: u32) -> vec4f {
    // at counts from one left of the image.
    if (at == 0u || at > params.width) { return vec4f(); }
    return x[start + (at - 1u) * params.c4];
}

// four convolves pixels (row, first) to (row, first + 3), channels 4c to 4c+3.
fn four(row: u32, first: u32, c: u32) -> Four {
    let bias = taps[9u * params.c4 + c];
    var out = Four(bias, bias, bias, bias);
    let middle = row % params.rows + params.above;
    let top = row / params.rows * params.in_rows;
    let end = min(middle + 2u, params.in_rows);
    for (var i = max(middle, 1u) - 1u; i < end; i++) {
        let start = params.x0 + (top + i) * params.width * params.c4 + c;
        let tap = (i + 1u - middle) * 3u * params.c4 + c;
        let t0 = taps[tap];
        let t1 = taps[tap + params.c4];
        let t2 = taps[tap + 2u * params.c4];
        let v0 = column(start, first);
        let v1 = column(start, first + 1u);
        let v2 = column(start, first + 2u);
        let v3 = column(start, first + 3u);
        let v4 = column(start, first + 4u);
        let v5 = column(start, first + 5u);
        out[0] += t0 * v0 + t1 * v1 + t2 * v2;
        out[1] += t0 * v1 + t1 * v2 + t2 * v3;
        out[2] += t0 * v2 + t1 * v3 + t2 * v4;
        out[3] += t0 * v3 + t1 * v4 + t2 * v5;
    }
    return out;
}

// Quad is where an invocation works: four pixels and a vec4 of channels. Lanes
// run along the channels, so that neighbours read neighbouring memory.
struct Quad { row: u32, first: u32, c: u32, inside: bool }

fn quad(id: vec3u, c4: u32) -> Quad {
    let across = (params.width + 3u) / 4u;
    let tile = id.x / c4;
    let row = tile / across + id.y * params.step;
    return Quad(row, (tile % across) * 4u, id.x % c4, tile < across * params.step && row < params.tiles);
}

@compute @workgroup_size(64)
fn plain(@builtin(global_invocation_id) id: vec3u) {
    let q = quad(id, params.c4);
    if (!q.inside) { return; }
    let out = four(q.row, q.first, q.c);
    for (var p = 0u; p < 4u && q.first + p < params.width; p++) {
        y[params.y0 + (q.row * params.width + q.first + p) * params.c4 + q.c] = out[p];
    }
}

@compute @workgroup_size(64)
fn gate(@builtin(global_invocation_id) id: vec3u) {
    let half_width = params.c4 / 2u;
    let q = quad(id, half_width);
    if (!q.inside) { return; }
    let a = four(q.row, q.first, q.c);
    let b = four(q.row, q.first, half_width + q.c);
    for (var p = 0u; p < 4u && q.first + p < params.width; p++) {
        y[params.y0 + (q.row * params.width + q.first + p) * half_width + q.c] = gelu(a[p]) * b[p];
    }
}

// gate_back computes the gate again and its gradient, for that of its output, g:
//   u1 = dw(a), u2 = dw(b)   gated = gelu(u1) * u2   du = g * u2 * gelu'(u1), g * gelu(u1)
@group(0) @binding(3) var<storage, read> g: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gated: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> du: array<vec4f>;

@compute @workgroup_size(64)
fn gate_back(@builtin(global_invocation_id) id: vec3u) {
    let half_width = params.c4 / 2u;
    let q = quad(id, half_width);
    if (!q.inside) { return; }
    let a = four(q.row, q.first, q.c);
    let b = four(q.row, q.first, half_width + q.c);
    for (var p = 0u; p < 4u && q.first + p < params.width; p++) {
        let pixel = q.row * params.width + q.first + p;
        let upstream = g[params.z0 + pixel * half_width + q.c];
        let on = gelu(a[p]);
        gated[params.y0 + pixel * half_width + q.c] = on * b[p];
        let at = pixel * params.c4 + q.c;
        du[at] = upstream * b[p] * gelu_gradient(a[p]);
        du[at + half_width] = upstream * on;
    }
}

// back computes both gradients of a convolution of inner [N, rows, W, C], from
// that of its output, which is x here, and turned taps:
//   dx[q] = sum over k of taps[k] x[q + k]
//   partials [chunks, 10, C]: the sums over the pixels q of a chunk of
//     inner[q] x[q + k], which belongs to the tap turned k, and of x[q]
// A tile is RUN pixels of two rows, an invocation slides along it with three
// columns of x at hand. Sixteen invocations side by side take a tile's
// channels, and four such the tiles of a chunk in turns.
@group(0) @binding(3) var<storage, read> inner: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec4f>;

const RUN: u32 = 32;

alias Three = mat3x4f; // what belongs to a column of taps

// Window is where four rows of x begin, and which of them there are.
struct Window { start: vec4u, there: vec4<bool> }

fn window(image: u32, row: u32, c: u32) -> Window {
    let rows = vec4u(row + params.above - 1u) + vec4u(0u, 1u, 2u, 3u);
    let there = rows < vec4u(params.in_rows);
    let stored = select(vec4u(), rows, there) + vec4u(image * params.in_rows);
    return Window(vec4u(params.x0 + c) + stored * params.width * params.c4, there);
}

// pixels returns column at, counted from one left of the image.
fn pixels(w: Window, at: u32) -> mat4x4f {
    if (at == 0u || at > params.width) { return mat4x4f(); }
    let from_start = w.start + vec4u((at - 1u) * params.c4);
    return mat4x4f(
        select(vec4f(), x[from_start.x], w.there.x), select(vec4f(), x[from_start.y], w.there.y),
        select(vec4f(), x[from_start.z], w.there.z), select(vec4f(), x[from_start.w], w.there.w));
}

fn along(t: Three, v: mat4x4f, first: u32) -> vec4f {
    if (first == 0u) { return t[0] * v[0] + t[1] * v[1] + t[2] * v[2]; }
    return t[0] * v[1] + t[1] * v[2] + t[2] * v[3];
}

fn products(i0: vec4f, i1: vec4f, v: mat4x4f) -> Three {
    return Three(i0 * v[0] + i1 * v[1], i0 * v[1] + i1 * v[2], i0 * v[2] + i1 * v[3]);
}

fn taps_of(k: u32, c: u32) -> Three {
    return Three(taps[k * params.c4 + c], taps[(k + 3u) * params.c4 + c], taps[(k + 6u) * params.c4 + c]);
}

var<workgroup> shares: array<array<vec4f, 64>, 10>;

// share_sum adds what four invocations with the same channels have.
fn share_sum(k: u32, i: u32) -> vec4f {
    return shares[k][i] + shares[k][i + 16u] + shares[k][i + 32u] + shares[k][i + 48u];
}

@compute @workgroup_size(64)
fn back(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c = group.x * 16u + lane % 16u;
    var sums_0 = Three();
    var sums_1 = Three();
    var sums_2 = Three();
    var sum = vec4f();
    if (c < params.c4) {
        let t0 = taps_of(0u, c);
        let t1 = taps_of(1u, c);
        let t2 = taps_of(2u, c);
        let across = (params.width + RUN - 1u) / RUN;
        let pairs = (params.rows + 1u) / 2u;
        let end = min((group.y + 1u) * params.step, params.tiles);
        for (var tile = group.y * params.step + lane / 16u; tile < end; tile += 4u) {
            let image = tile / (across * pairs);
            let row = tile / across % pairs * 2u;
            let first = tile % across * RUN;
            let second = row + 1u < params.rows;
            let w = window(image, row, c);
            let below = params.width * params.c4;
            var at = ((image * params.rows + row) * params.width + first) * params.c4 + c;
            var v0 = pixels(w, first);
            var v1 = pixels(w, first + 1u);
            for (var p = first; p < min(first + RUN, params.width); p++) {
                let v2 = pixels(w, p + 2u);
                dx[params.y0 + at] = along(t0, v0, 0u) + along(t1, v1, 0u) + along(t2, v2, 0u);
                let i0 = inner[params.z0 + at];
                var i1 = vec4f();
                sum += v1[1];
                if (second) {
                    dx[params.y0 + at + below] = along(t0, v0, 1u) + along(t1, v1, 1u) + along(t2, v2, 1u);
                    i1 = inner[params.z0 + at + below];
                    sum += v1[2];
                }
                sums_0 += products(i0, i1, v0);
                sums_1 += products(i0, i1, v1);
                sums_2 += products(i0, i1, v2);
                v0 = v1;
                v1 = v2;
                at += params.c4;
            }
        }
    }
    for (var k = 0u; k < 3u; k++) { // turned back
        shares[8u - 3u * k][lane] = sums_0[k];
        shares[7u - 3u * k][lane] = sums_1[k];
        shares[6u - 3u * k][lane] = sums_2[k];
    }
    shares[9][lane] = sum;
    workgroupBarrier();
    for (var i = lane; i < 160u; i += 64u) {
        let to = group.x * 16u + i % 16u;
        if (to < params.c4) { partials[(group.y * 10u + i / 16u) * params.c4 + to] = share_sum(i / 16u, i % 16u); }
    }
}

// collect adds the sums of all chunks to the gradient of some taps, [C, count].
@group(0) @binding(1) var<storage, read> chunks: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn collect(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c = group.x * 16u + lane % 16u;
    var sum = vec4f();
    if (c < params.c4) {
        for (var i = lane / 16u; i < params.tiles; i += 4u) { sum += chunks[(i * 10u + params.first + group.y) * params.c4 + c]; }
    }
    shares[0][lane] = sum;
    workgroupBarrier();
    let all = share_sum(0u, lane % 16u);
    if (lane >= 16u || c >= params.c4) { return; }
    for (var i = 0u; i < 4u; i++) {
        let stored = 4u * c + i;
        let within = stored % params.padded;
        if (within < params.part) {
            grad[(stored / params.padded * params.part + within) * params.count + group.y] += all[i];
        }
    }
}
