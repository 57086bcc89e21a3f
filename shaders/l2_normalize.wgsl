// l2_normalize: rows of [rows, C] divided by their Euclidean norm.
//               PyTorch: F.normalize(x, dim=-1, eps=eps)
//   x, y, dy, dx [rows, C]
//   y = x / norm             with norm = max(sqrt(sum x^2), eps)
//   dx = (dy - y sum of y dy) / norm, or dy / eps where the norm is below eps

// import: layout
// import: rows

struct Params {
    rows: u32,
    width: u32,   // of a stored row, in vec4
    x0: u32,      // in vec4
    dy0: u32,
    y0: u32,      // of y or dx
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn normalize_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * 4u + lane / 16u;
    let source = params.x0 + min(row, params.rows - 1u) * params.width;
    let first = lane % 16u;
    var squares = 0.0;
    for (var c = first; c < params.width; c += 16u) { squares += dot(x[source + c], x[source + c]); }
    let norm = max(sqrt(row_sum(squares, lane)), params.eps);
    if (row >= params.rows) { return; }
    for (var c = first; c < params.width; c += 16u) {
        y[params.y0 + row * params.width + c] = x[source + c] / norm;
    }
}

@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * 4u + lane / 16u;
    let source = params.x0 + min(row, params.rows - 1u) * params.width;
    let upstream = params.dy0 + min(row, params.rows - 1u) * params.width;
    let first = lane % 16u;
    var squares = 0.0;
    var products = 0.0;
    for (var c = first; c < params.width; c += 16u) {
        squares += dot(x[source + c], x[source + c]);
        products += dot(x[source + c], dy[upstream + c]);
    }
    let length = sqrt(row_sum(squares, lane));
    let norm = max(length, params.eps);
    let along = select(row_sum(products, lane) / norm, 0.0, length < params.eps);
    if (row >= params.rows) { return; }
    for (var c = first; c < params.width; c += 16u) {
        dx[params.y0 + row * params.width + c] = (dy[upstream + c] - x[source + c] / norm * along) / norm;
    }
}
