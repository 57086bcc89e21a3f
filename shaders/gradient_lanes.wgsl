// gradient_lanes: direct of gradient.wgsl, and add where a run is one chunk, for
//                 software Vulkan whose subgroups have eight lanes.
//
// Lanes are channels of b. A subgroup takes a block of sums, LEFT of a's channels by
// RIGHT of b's, over a chunk, ROWS rows at a time: eight channels come with one load,
// and one of a's is spread by broadcast and multiplied by eight of b's. No memory is
// shared, and none waits for others.

// import: layout

struct Params {
    rows: u32,     // of a run
    width: u32,    // rows in a line
    lines: u32,    // lines in a chunk
    splits: u32,   // chunks in a run
    chunks: u32,   // of all runs
    n: u32,        // stored channels of a
    k: u32,        // and of b
    a0: u32,       // in vec4
    b0: u32,
    height: u32,   // lines of an image
    first: u32,    // a's first line
    above: u32,    // lines of b above it
    taps: u32,     // 9 for a 3x3 convolution
    add: u32,      // to a gradient
    in0: u32,      // where the sums begin in a row of the gradient, to which they are added
    row: u32,
    out_part: u32, // channels per part, as in the gradient, and as stored
    out_pad: u32,
    in_part: u32,
    in_pad: u32,
    right: u32,    // RIGHT / 8: the compiler, not knowing it, keeps a loop a loop
}

const LEFT: u32 = 48;  // multiples of eight
const RIGHT: u32 = 48;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;  // partial or the gradient

const ROWS: u32 = 4;
const NOWHERE: u32 = 4294967295;

@compute @workgroup_size(8)
fn products(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let across = (params.k + RIGHT - 1u) / RIGHT;
    let down = (params.n + LEFT - 1u) / LEFT;
    let i0 = number(group) % across * RIGHT;
    let tap = number(group) / across % params.taps;
    let o0 = number(group) / across / params.taps % down * LEFT;
    let chunk = number(group) / across / params.taps / down;
    if (chunk >= params.chunks) { return; }

    var g: array<array<f32, RIGHT / 8>, LEFT>;
    let run = chunk / params.splits * params.rows;
    let line0 = chunk % params.splits * params.lines;
    for (var line = line0; line < line0 + params.lines; line++) {
        var r = line * params.width;
        var end = min(r + params.width, params.rows);
        var rb = r;
        if (params.taps == 9u) {
            let y = (params.first + line) % params.height;
            if ((tap < 3u && y == 0u) || (tap >= 6u && y + 1u == params.height)) { end = 0u; }
            rb += (params.above + tap / 3u) * params.width + tap % 3u;
            if (tap % 3u == 0u) { r += 1u; rb += 1u; }
            if (tap % 3u == 2u) { end = max(end, 1u) - 1u; }
            rb -= params.width + 1u;
        }
        rb -= r;
        for (; r < end; r += ROWS) {
            var u = array<array<f32, ROWS>, LEFT / 8>(); // scalars
            var v = array<array<f32, ROWS>, RIGHT / 8>(); // scalars
            for (var p = 0u; p < ROWS; p++) { // unroll
                let there = r + p < end;
                let row = run + min(r + p, end - 1u);
                let at_a = 4u * params.a0 + row * params.n;
                let at_b = 4u * params.b0 + (row + rb) * params.k;
                // What is past the last channel repeats it, and is not stored.
                for (var j = 0u; j < LEFT / 8u; j++) { // unroll
                    u[j][p] = select(0.0, a[at_a + min(o0 + 8u * j + lane, params.n - 1u)], there);
                }
                for (var j = 0u; j < RIGHT / 8u; j++) { // unroll
                    v[j][p] = select(0.0, b[at_b + min(i0 + 8u * j + lane, params.k - 1u)], there);
                }
            }
            for (var o = 0u; o < LEFT; o++) { // unroll
                var one = array<f32, ROWS>(); // scalars
                for (var p = 0u; p < ROWS; p++) { // unroll
                    one[p] = subgroupBroadcast(u[o / 8u][p], o % 8u);
                }
                for (var j = 0u; j < RIGHT / 8u; j++) { // unroll
                    g[o][j] += (one[0] * v[j][0] + one[1] * v[j][1]) + (one[2] * v[j][2] + one[3] * v[j][3]);
                }
            }
        }
    }

    // Where a column of sums goes, or NOWHERE: padding has no gradient.
    var to: array<u32, RIGHT / 8u>;
    for (var j = 0u; j < RIGHT / 8u; j++) { // unroll
        let i = i0 + 8u * j + lane;
        to[j] = i;
        if (params.add != 0u) {
            to[j] = (params.in0 + i / params.in_pad * params.in_part + i % params.in_pad) * params.taps + tap;
            if (i % params.in_pad >= params.in_part) { to[j] = NOWHERE; }
        }
        if (i >= params.k) { to[j] = NOWHERE; }
    }
    var part = o0 / params.out_pad;
    var rest = o0 % params.out_pad;
    for (var o = 0u; o < min(LEFT, params.n - o0); o++) {
        var row = ((chunk * params.n + o0 + o) * params.taps + tap) * params.k;
        if (params.add != 0u) { row = (part * params.out_part + rest) * params.row; }
        if (params.add == 0u || rest < params.out_part) {
            for (var j = 0u; j < params.right; j++) {
                if (to[j] == NOWHERE) { continue; }
                if (params.add != 0u) { sums[row + to[j]] += g[o][j]; } else { sums[row + to[j]] = g[o][j]; }
            }
        }
        rest += 1u;
        if (rest == params.out_pad) {
            rest = 0u;
            part += 1u;
        }
    }
}
