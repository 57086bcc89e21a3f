// layernorm: LayerNorm over the last axis of [rows, C].   PyTorch: F.layer_norm
//   x, y [rows, C]   gamma, beta [C]
//   y = (x - mean) * rstd * gamma + beta;  the variance is biased, eps inside the root
//   bias-free (Restormer): y = x * rstd * gamma, the variance still about the mean
// The mean is taken of x - x[0], and the variance in a second pass, so that a
// mean that is large beside the deviation costs no accuracy.

// import: layout
// import: rows

struct Params {
    rows: u32,
    channels: u32,
    width: u32,   // of a stored row, in vec4
    x0: u32,      // in vec4
    y0: u32,
    eps: f32,
}

const NORM: u32 = 1;  // 1 with bias, 2 bias-free

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4f>;  // zero where channels are padding
@group(0) @binding(3) var<storage, read> beta: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn normalize_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * 4u + lane / 16u;
    let source = params.x0 + min(row, params.rows - 1u) * params.width;
    let pivot = x[source].x;
    let first = lane % 16u;
    var sum = vec4f();
    for (var c = first; c < params.width; c += 16u) {
        sum += select(vec4f(), x[source + c] - pivot, used(c, params.channels));
    }
    let mean = row_sum(dot(sum, vec4f(1.0)), lane) / f32(params.channels);
    var squares = vec4f();
    for (var c = first; c < params.width; c += 16u) {
        let v = select(vec4f(), x[source + c] - pivot - mean, used(c, params.channels));
        squares += v * v;
    }
    let rstd = inverseSqrt(row_sum(dot(squares, vec4f(1.0)), lane) / f32(params.channels) + params.eps);
    if (row >= params.rows) { return; }
    for (var c = first; c < params.width; c += 16u) {
        var v = x[source + c];
        if (NORM == 1u) {
            v = (v - pivot - mean) * rstd * gamma[c] + beta[c];
        } else {
            v = v * rstd * gamma[c];
        }
        y[params.y0 + row * params.width + c] = v;
    }
}
