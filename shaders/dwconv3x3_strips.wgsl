// dwconv3x3_strips: plain, gate and gate_back of dwconv3x3.wgsl, for software
//                   Vulkan whose subgroups have eight lanes.
//
// There loads are dear. An invocation marches down a strip of COLUMNS pixels by
// STRIP rows, in a vec4 of channels (or two, a gate's halves), and loads every
// pixel once: a row of x is added to the sums of three rows of y, of which two are
// carried on. The order of an output's sum is the same wherever a strip begins.

// import: activation
// import: layout

struct Params {
    width: u32,
    c4: u32,      // stored channels of x / 4
    rows: u32,    // of each image of y
    in_rows: u32, // of each image of x
    above: u32,   // rows of x above y's first
    x0: u32,      // in vec4
    y0: u32,
    z0: u32,      // of the third tensor, where there is one
    strips: u32,  // of all images
    taps: u32,    // 9: the compiler, not knowing it, keeps a loop that is not worth its code a loop
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> taps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

const COLUMNS: u32 = 4;
const STRIP: u32 = 16;

// Strip is where an invocation works: channels c (and as far behind the half), pixels
// from first on, and rows begin to end of an image.
struct Strip { c: u32, first: u32, image: u32, begin: u32, end: u32, inside: bool }

fn strip(group: vec3u, lane: u32, c4: u32) -> Strip {
    let id = number(group) * 64u + lane;
    let across = (params.width + COLUMNS - 1u) / COLUMNS;
    let down = (params.rows + STRIP - 1u) / STRIP;
    let tile = id / c4;
    let begin = tile / across % down * STRIP;
    return Strip(id % c4, tile % across * COLUMNS, tile / across / down, begin, min(begin + STRIP, params.rows), tile < params.strips);
}

struct Taps { bias: vec4f, t: array<vec4f, 9> }

fn taps_of(c: u32) -> Taps {
    var t: Taps;
    for (var k = 0u; k < params.taps; k++) {
        t.t[k] = taps[k * params.c4 + c];
    }
    t.bias = taps[9u * params.c4 + c];
    return t;
}

// Row is a row of x: the pixels of a strip and one on either side, in one vec4 of channels.
alias Row = array<vec4f, COLUMNS + 2>;

// load_row returns row i of a strip's image as x has it, zero outside.
fn load_row(s: Strip, i: u32, c: u32) -> Row {
    let start = params.x0 + (s.image * params.in_rows + min(i, params.in_rows - 1u)) * params.width * params.c4 + c;
    var v: Row;
    for (var p = 0u; p < COLUMNS + 2u; p++) { // unroll
        // Columns count from one left of the image.
        let at = clamp(s.first + p, 1u, params.width);
        v[p] = select(vec4f(), x[start + (at - 1u) * params.c4], i < params.in_rows && at == s.first + p);
    }
    return v;
}

// Sums are those of the rows of y that lack one more row of x, and two more.
struct Sums { one: array<vec4f, COLUMNS>, two: array<vec4f, COLUMNS> }

// march adds a row of x and returns the row of y that it completes.
fn march(s: ptr<function, Sums>, t: Taps, v: Row) -> array<vec4f, COLUMNS> {
    var done: array<vec4f, COLUMNS>;
    for (var p = 0u; p < COLUMNS; p++) { // unroll
        done[p] = (*s).one[p] + t.t[6] * v[p] + t.t[7] * v[p + 1u] + t.t[8] * v[p + 2u];
        (*s).one[p] = (*s).two[p] + t.t[3] * v[p] + t.t[4] * v[p + 1u] + t.t[5] * v[p + 2u];
        (*s).two[p] = t.bias + t.t[0] * v[p] + t.t[1] * v[p + 1u] + t.t[2] * v[p + 2u];
    }
    return done;
}

@compute @workgroup_size(64)
fn plain(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let s = strip(group, lane, params.c4);
    if (!s.inside) { return; }
    let t = taps_of(s.c);
    var sums: Sums;
    for (var r = s.begin; r < s.end + 2u; r++) {
        let a = march(&sums, t, load_row(s, r + params.above - 1u, s.c));
        if (r < s.begin + 2u) { continue; }
        let pixel = (s.image * params.rows + r - 2u) * params.width + s.first;
        for (var p = 0u; p < COLUMNS; p++) { // unroll
            if (s.first + p < params.width) { y[params.y0 + (pixel + p) * params.c4 + s.c] = a[p]; }
        }
    }
}

@compute @workgroup_size(64)
fn gate(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let half_width = params.c4 / 2u;
    let s = strip(group, lane, half_width);
    if (!s.inside) { return; }
    let ta = taps_of(s.c);
    let tb = taps_of(half_width + s.c);
    var sums_a: Sums;
    var sums_b: Sums;
    for (var r = s.begin; r < s.end + 2u; r++) {
        let a = march(&sums_a, ta, load_row(s, r + params.above - 1u, s.c));
        let b = march(&sums_b, tb, load_row(s, r + params.above - 1u, half_width + s.c));
        if (r < s.begin + 2u) { continue; }
        let pixel = (s.image * params.rows + r - 2u) * params.width + s.first;
        for (var p = 0u; p < COLUMNS; p++) { // unroll
            if (s.first + p < params.width) { y[params.y0 + (pixel + p) * half_width + s.c] = gelu(a[p]) * b[p]; }
        }
    }
}

@group(0) @binding(3) var<storage, read> g: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gated: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> du: array<vec4f>;

@compute @workgroup_size(64)
fn gate_back(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let half_width = params.c4 / 2u;
    let s = strip(group, lane, half_width);
    if (!s.inside) { return; }
    let ta = taps_of(s.c);
    let tb = taps_of(half_width + s.c);
    var sums_a: Sums;
    var sums_b: Sums;
    for (var r = s.begin; r < s.end + 2u; r++) {
        let a = march(&sums_a, ta, load_row(s, r + params.above - 1u, s.c));
        let b = march(&sums_b, tb, load_row(s, r + params.above - 1u, half_width + s.c));
        if (r < s.begin + 2u) { continue; }
        let pixel = (s.image * params.rows + r - 2u) * params.width + s.first;
        for (var p = 0u; p < COLUMNS; p++) { // unroll
            if (s.first + p < params.width) {
                let upstream = g[params.z0 + (pixel + p) * half_width + s.c];
                let on = gelu(a[p]);
                gated[params.y0 + (pixel + p) * half_width + s.c] = on * b[p];
                let at = (pixel + p) * params.c4 + s.c;
                du[at] = upstream * b[p] * gelu_gradient(a[p]);
                du[at + half_width] = upstream * on;
            }
        }
    }
}
