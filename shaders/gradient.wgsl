// gradient: sums over rows, which gradients of weights are: of the products of
//           two tensors' channels, and of one tensor's channels.
//           PyTorch: the backward of F.linear, F.conv2d
//   a [runs, rows, N]   b [runs, rows, K]
//   partial [runs, splits, N, taps, K]   sum over a chunk's rows r of a[r, o] b[r, i]
//   columns [runs, splits, N]            sum over a chunk's rows r of a[r, o]
//   total   [runs, N, taps, K]           sum over splits
// then either is stored (total), or added to a gradient as PyTorch stores it (add).
//
// A chunk is some lines of rows. For a 3x3 convolution a line is a row of an
// image, and a tap pairs a's pixels with b's one row or column further; what
// lies outside the image is zero. Lines are counted through the batch, and b
// has a neighbour line on each side that is not an image's edge.
//
// direct and tiled differ only in where tiles live: direct reads storage
// (software Vulkan: 16 x 16 sums per invocation, so that a load serves 16
// products; with eight lanes gradient_lanes.wgsl serves), tiled stages both sides in workgroup memory (hardware GPUs).

// import: layout

struct Params {
    rows: u32,      // of a run
    width: u32,     // rows in a line
    lines: u32,     // lines in a chunk
    splits: u32,    // chunks in a run
    chunks: u32,    // of all runs
    n4: u32,        // N / 4
    k4: u32,        // K / 4
    a0: u32,        // in vec4
    b0: u32,
    height: u32,    // lines of an image
    first: u32,     // a's first line
    above: u32,     // lines of b above it

    count: u32,     // sums to store, of all runs, or to add to a row of the gradient
    size: u32,      // sums of a chunk, padding included
    sections: u32,  // invocations that share a sum: a power of two up to 16
    in0: u32,       // where the sums begin in a row of the gradient
    row: u32,
    out_part: u32,  // channels per part, as in the gradient, and as stored
    out_pad: u32,
    in_part: u32,
    in_pad: u32,
    in_all: u32,
}

const TAPS: u32 = 1;  // 9 for a 3x3 convolution

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4f>;

// products of four channels of b with four of a, one column for each of a's.
fn products(v: vec4f, u: vec4f) -> mat4x4f { return mat4x4f(v * u.x, v * u.y, v * u.z, v * u.w); }

// spot returns where partial holds the sums of a's channel o and b's at column.
fn spot(chunk: u32, o: u32, column: u32) -> u32 {
    return (chunk * params.n4 * 4u + o) * TAPS * params.k4 + column;
}

@compute @workgroup_size(64)
fn direct(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let across = (params.k4 + 3u) / 4u;
    let tiles = (params.n4 + 3u) / 4u * TAPS * across;
    let id = number(group) * 64u + lane;
    let chunk = id / tiles;
    if (chunk >= params.chunks) { return; }
    let tile = id % tiles;
    let o = tile / across / TAPS * 4u;
    let tap = tile / across % TAPS;
    let i = tile % across * 4u;
    // Columns past the end repeat the last, and are not stored.
    let oc = min(vec4u(o) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n4 - 1u));
    let ic = min(vec4u(i) + vec4u(0u, 1u, 2u, 3u), vec4u(params.k4 - 1u));
    var sums: array<mat4x4f, 16>;
    for (var j = 0u; j < 16u; j++) { sums[j] = mat4x4f(); }
    let run = chunk / params.splits * params.rows;
    let line0 = chunk % params.splits * params.lines;
    for (var line = line0; line < line0 + params.lines; line++) {
        var r = line * params.width;
        var end = min(r + params.width, params.rows);
        var rb = r;
        if (TAPS == 9u) {
            let y = (params.first + line) % params.height;
            if ((tap < 3u && y == 0u) || (tap >= 6u && y + 1u == params.height)) { end = 0u; }
            rb += (params.above + tap / 3u) * params.width + tap % 3u;
            if (tap % 3u == 0u) { r += 1u; rb += 1u; }
            if (tap % 3u == 2u) { end = max(end, 1u) - 1u; }
            rb -= params.width + 1u;
        }
        var at_a = params.a0 + (run + r) * params.n4;
        var at_b = params.b0 + (run + rb) * params.k4;
        for (; r < end; r++) {
            let u = mat4x4f(a[at_a + oc.x], a[at_a + oc.y], a[at_a + oc.z], a[at_a + oc.w]);
            let v = mat4x4f(b[at_b + ic.x], b[at_b + ic.y], b[at_b + ic.z], b[at_b + ic.w]);
            for (var j = 0u; j < 4u; j++) {
                sums[4u * j] += products(v[0], u[j]);
                sums[4u * j + 1u] += products(v[1], u[j]);
                sums[4u * j + 2u] += products(v[2], u[j]);
                sums[4u * j + 3u] += products(v[3], u[j]);
            }
            at_a += params.n4;
            at_b += params.k4;
        }
    }
    for (var j = 0u; j < 16u; j++) {
        let row = o + j / 4u;
        let column = i + j % 4u;
        if (row >= params.n4 || column >= params.k4) { continue; }
        for (var q = 0u; q < 4u; q++) { partial[spot(chunk, 4u * row + q, tap * params.k4 + column)] = sums[j][q]; }
    }
}

// --- tiled: 64 x 64 sums per workgroup, 8 x 8 per invocation ----------------

var<workgroup> left: array<vec4f, 256>;   // [16 rows][64 of a's channels]
var<workgroup> right: array<vec4f, 256>;  // [16 rows][64 of b's]

// beside returns b's channels at c4 of the pixel that row r of a is paired with.
fn beside(run: u32, r: u32, tap: u32, c4: u32) -> vec4f {
    if (TAPS == 1u) { return b[params.b0 + (run + r) * params.k4 + c4]; }
    let line = r / params.width;
    let x = r % params.width + tap % 3u;  // one more than the column, as is y
    let y = (params.first + line) % params.height + tap / 3u;
    if (x == 0u || x > params.width || y == 0u || y > params.height) { return vec4f(); }
    return b[params.b0 + ((line + params.above + tap / 3u - 1u) * params.width + x - 1u) * params.k4 + c4];
}

@compute @workgroup_size(64)
fn tiled(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let across = (TAPS * params.k4 + 15u) / 16u;
    let tiles = (params.n4 + 15u) / 16u * across;
    let chunk = number(group) / tiles;
    if (chunk >= params.chunks) { return; }
    let tile = number(group) % tiles;
    let o = tile / across * 16u;
    let i = tile % across * 16u;
    let oc = o + lane % 16u;
    let ic = i + lane % 16u;
    let tap = ic / params.k4;
    let run = chunk / params.splits * params.rows;
    let first = chunk % params.splits * params.lines * params.width;
    let end = min(first + params.lines * params.width, params.rows);
    var sums: array<mat4x4f, 4>;
    for (var j = 0u; j < 4u; j++) { sums[j] = mat4x4f(); }
    for (var r0 = first; r0 < end; r0 += 16u) {
        for (var j = lane; j < 256u; j += 64u) {
            let r = r0 + j / 16u;
            var u = vec4f();
            var v = vec4f();
            if (r < end && oc < params.n4) { u = a[params.a0 + (run + r) * params.n4 + oc]; }
            if (r < end && tap < TAPS) { v = beside(run, r, tap, ic % params.k4); }
            left[j] = u;
            right[j] = v;
        }
        workgroupBarrier();
        for (var r = 0u; r < 256u; r += 16u) {
            let u0 = left[r + lane / 8u];
            let u1 = left[r + lane / 8u + 8u];
            let v0 = right[r + lane % 8u];
            let v1 = right[r + lane % 8u + 8u];
            sums[0] += products(v0, u0);
            sums[1] += products(v1, u0);
            sums[2] += products(v0, u1);
            sums[3] += products(v1, u1);
        }
        workgroupBarrier();
    }
    for (var j = 0u; j < 4u; j++) {
        let row = o + lane / 8u + j / 2u * 8u;
        let column = i + lane % 8u + j % 2u * 8u;
        if (row >= params.n4 || column >= TAPS * params.k4) { continue; }
        for (var q = 0u; q < 4u; q++) { partial[spot(chunk, 4u * row + q, column)] = sums[j][q]; }
    }
}

// columns: one invocation sums four channels of a over a chunk.
@group(0) @binding(2) var<storage, read_write> column_sums: array<vec4f>;

@compute @workgroup_size(64)
fn columns(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let id = number(group) * 64u + lane;
    let chunk = id / params.n4;
    if (chunk >= params.chunks) { return; }
    let run = chunk / params.splits * params.rows;
    let first = chunk % params.splits * params.lines * params.width;
    let end = min(first + params.lines * params.width, params.rows);
    var sum = vec4f();
    for (var r = first; r < end; r++) { sum += a[params.a0 + (run + r) * params.n4 + id % params.n4]; }
    column_sums[id] = sum;
}

// --- the splits' sums, in a fixed order --------------------------------------

@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read_write> totals: array<f32>;

var<workgroup> shares: array<f32, 64>;

// place returns which sum this invocation has a share in.
fn place(group: vec3u, lane: u32) -> u32 {
    let each = 64u / params.sections;
    return number(group) * each + lane % each;
}

// sum_splits returns the sum at index within the chunks of a run, to the first
// of the invocations that share it. All of a workgroup must call it.
fn sum_splits(run: u32, index: u32, lane: u32) -> f32 {
    let each = 64u / params.sections;
    var share = 0.0;
    for (var s = lane / each; s < params.splits; s += params.sections) {
        share += partials[(run * params.splits + s) * params.size + index];
    }
    shares[lane] = share;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = lane; i < 64u; i += each) { sum += shares[i]; }
    return sum;
}

@compute @workgroup_size(64)
fn total(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let at = place(group, lane);
    let i = min(at, params.count - 1u);
    let sum = sum_splits(i / params.size, i % params.size, lane);
    if (at < params.count && lane < 64u / params.sections) { totals[at] = sum; }
}

// stored returns where channel c is stored. Dividing by loop: software Vulkan
// divides lane by lane.
fn stored(c: u32, part: u32, padded: u32) -> u32 {
    if (part == padded) { return c; }
    var rest = c;
    var at = 0u;
    while (rest >= part) {
        rest -= part;
        at += padded;
    }
    return at + rest;
}

// A workgroup adds to one row of the gradient, group.y.
@compute @workgroup_size(64)
fn add(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let each = 64u / params.sections;
    let at = group.x * each + lane % each;
    let e = min(at, params.count - 1u);
    let i = e / TAPS;
    let out = stored(group.y, params.out_part, params.out_pad);
    let column = stored(i, params.in_part, params.in_pad);
    let sum = sum_splits(0u, (out * TAPS + e % TAPS) * params.in_all + column, lane);
    if (at < params.count && lane < each) { totals[group.y * params.row + (params.in0 + i) * TAPS + e % TAPS] += sum; }
}
