// matmul: products of batched matrices, and their transpose.
//         PyTorch: torch.matmul, x.transpose(-2, -1)
//   a [B, M, K], or [B, K, M] if TA   b [B, K, N], or [B, N, K] if TB   y [B, M, N]
// A workgroup computes a tile of 64 x 64, each invocation 4 x 4 of it.

// import: layout

struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_row: u32,    // stored floats of a row of a, b and y
    b_row: u32,
    y_row: u32,
    a0: u32,       // in floats
    b0: u32,
    y0: u32,       // in vec4; of a transpose in floats
    batch: u32,    // matrices
}

const TA: bool = false;
const TB: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

fn element_a(batch: u32, m: u32, k: u32) -> f32 {
    if (m >= params.m || k >= params.k) { return 0.0; }
    if (TA) { return a[params.a0 + (batch * params.k + k) * params.a_row + m]; }
    return a[params.a0 + (batch * params.m + m) * params.a_row + k];
}

fn element_b(batch: u32, k: u32, n: u32) -> f32 {
    if (n >= params.n || k >= params.k) { return 0.0; }
    if (TB) { return b[params.b0 + (batch * params.n + n) * params.b_row + k]; }
    return b[params.b0 + (batch * params.k + k) * params.b_row + n];
}

var<workgroup> left: array<vec4f, 256>;   // [16 k][64 m]
var<workgroup> right: array<vec4f, 256>;  // [16 k][64 n]

@compute @workgroup_size(256)
fn matmul(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let across = (params.n + 63u) / 64u;
    let down = (params.m + 63u) / 64u;
    let tile = number(group);
    let batch = tile / (across * down);
    let m0 = tile / across % down * 64u;
    let n0 = tile % across * 64u;
    var acc = mat4x4f();
    for (var k0 = 0u; k0 < params.k; k0 += 16u) {
        // Neighbours in memory go to neighbouring invocations.
        var m = lane / 16u * 4u;
        var k = lane % 16u;
        if (TA) { m = lane % 16u * 4u; k = lane / 16u; }
        if (batch < params.batch) {
            left[k * 16u + m / 4u] = vec4f(
                element_a(batch, m0 + m, k0 + k), element_a(batch, m0 + m + 1u, k0 + k),
                element_a(batch, m0 + m + 2u, k0 + k), element_a(batch, m0 + m + 3u, k0 + k));
            var n = lane % 16u * 4u;
            k = lane / 16u;
            if (TB) { n = lane / 16u * 4u; k = lane % 16u; }
            right[k * 16u + n / 4u] = vec4f(
                element_b(batch, k0 + k, n0 + n), element_b(batch, k0 + k, n0 + n + 1u),
                element_b(batch, k0 + k, n0 + n + 2u), element_b(batch, k0 + k, n0 + n + 3u));
        }
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let u = left[i * 16u + lane / 16u];
            let v = right[i * 16u + lane % 16u];
            acc += mat4x4f(v * u.x, v * u.y, v * u.z, v * u.w);
        }
        workgroupBarrier();
    }
    let n = n0 + lane % 16u * 4u;
    if (batch >= params.batch || n >= params.n) { return; }
    for (var i = 0u; i < 4u; i++) {
        let m = m0 + lane / 16u * 4u + i;
        if (m < params.m) { y[params.y0 + ((batch * params.m + m) * params.y_row + n) / 4u] = acc[i]; }
    }
}

// transpose: a [B, M, N] -> turned [B, N, M], in tiles of 32 x 32.
@group(0) @binding(2) var<storage, read_write> turned: array<f32>;

var<workgroup> square: array<f32, 1056>;  // [32][33]

@compute @workgroup_size(256)
fn transpose(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let across = (params.n + 31u) / 32u;
    let down = (params.m + 31u) / 32u;
    let tile = number(group);
    let batch = tile / (across * down);
    let m0 = tile / across % down * 32u;
    let n0 = tile % across * 32u;
    for (var i = lane; i < 1024u; i += 256u) {
        let m = m0 + i / 32u;
        let n = n0 + i % 32u;
        var v = 0.0;
        if (batch < params.batch && m < params.m && n < params.n) { v = a[params.a0 + (batch * params.m + m) * params.a_row + n]; }
        square[i / 32u * 33u + i % 32u] = v;
    }
    workgroupBarrier();
    for (var i = lane; i < 1024u; i += 256u) {
        let n = n0 + i / 32u;
        let m = m0 + i % 32u;
        if (batch < params.batch && n < params.n && m < params.y_row) {
            turned[params.y0 + (batch * params.n + n) * params.y_row + m] = square[i % 32u * 33u + i / 32u];
        }
    }
}
