// softmax: softmax over the last axis of [rows, C].   PyTorch: torch.softmax(x, -1)
//   x, y, dy, dx [rows, C]
//   y = exp(x - max) / sum exp(x - max)
//   dx = y * (dy - sum of y dy), where dy is taken less its value at the largest
//        y: without that, the gradient of a y near one is lost in rounding

// import: layout
// import: rows

struct Params {
    rows: u32,
    channels: u32,
    width: u32,   // of a stored row, in vec4
    x0: u32,      // in vec4, of x or y
    dy0: u32,
    y0: u32,      // of y or dx
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

const LOWEST: f32 = -3.4028234e38;

@compute @workgroup_size(64)
fn softmax(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * 4u + lane / 16u;
    let source = params.x0 + min(row, params.rows - 1u) * params.width;
    let first = lane % 16u;
    var most = vec4f(LOWEST);
    for (var c = first; c < params.width; c += 16u) {
        most = max(most, select(vec4f(LOWEST), x[source + c], used(c, params.channels)));
    }
    let top = row_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    var sum = vec4f();
    for (var c = first; c < params.width; c += 16u) {
        sum += select(vec4f(), exp(x[source + c] - top), used(c, params.channels));
    }
    let scale = 1.0 / row_sum(dot(sum, vec4f(1.0)), lane);
    if (row >= params.rows) { return; }
    for (var c = first; c < params.width; c += 16u) {
        y[params.y0 + row * params.width + c] = select(vec4f(), exp(x[source + c] - top) * scale, used(c, params.channels));
    }
}

@group(0) @binding(1) var<storage, read> probability: array<vec4f>;  // y
@group(0) @binding(2) var<storage, read> dy: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let row = number(group) * 4u + lane / 16u;
    let at = min(row, params.rows - 1u) * params.width;
    let first = lane % 16u;
    var most = vec4f();
    for (var c = first; c < params.width; c += 16u) { most = max(most, probability[params.x0 + at + c]); }
    let top = row_max(max(max(most.x, most.y), max(most.z, most.w)), lane);
    var there = vec4f(LOWEST);
    for (var c = first; c < params.width; c += 16u) {
        there = max(there, select(vec4f(LOWEST), dy[params.dy0 + at + c], probability[params.x0 + at + c] == vec4f(top)));
    }
    let pivot = row_max(max(max(there.x, there.y), max(there.z, there.w)), lane);
    var along = 0.0;
    for (var c = first; c < params.width; c += 16u) {
        along += dot(probability[params.x0 + at + c], dy[params.dy0 + at + c] - pivot);
    }
    along = row_sum(along, lane);
    if (row >= params.rows) { return; }
    for (var c = first; c < params.width; c += 16u) {
        dx[params.y0 + at + c] = probability[params.x0 + at + c] * (dy[params.dy0 + at + c] - pivot - along);
    }
}
