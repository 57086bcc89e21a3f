// conv3x3: 3x3 convolution, stride 1, zero padding 1, on images [N, H, W, C].
//          PyTorch: F.conv2d(x, w, b, padding=1)
//   x [rows, W, C]   w [9 taps][C] x [N] packed in panels (pack.wgsl)   y as stored below
//   y = act(sum_taps sum_c x w + bias) + residual
// Rows are rows of a batch of images, counted through: row r lies in image
// r / H. A call may cover a band of them; x then holds the rows from in_row on,
// with a neighbour row on each side that is not the image's edge.
//
// SHUFFLED leaves the result as a pixel shuffle by 2 would (pack.wgsl has
// ordered the outputs sub-pixel by sub-pixel), UNSHUFFLED as a pixel unshuffle by 2.

// import: activation
// import: convstore

struct Params {
    height: u32,
    width: u32,
    out_row: u32,    // first row of y
    rows: u32,       // rows of y, before any shuffle
    in_row: u32,     // first row of x
    c4: u32,         // stored input channels / 4
    x0: u32,         // in vec4
    n: u32,          // stored outputs
    y0: u32,         // in floats
    ys: u32,         // stored channels of a pixel of y
    r0: u32,         // residual, in floats, with ys alike
    channels: u32,   // logical outputs
    act: ActKind,
    add: u32,        // 1 if there is a residual
    slope: f32,
}

const STORE: ConvStore = PLAIN;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> panels: array<vec4f>;
@group(0) @binding(3) var<storage, read> epilogue: array<vec4f>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// put stores one output of pixel (row, column), rows counted from y's first.
fn put(row: u32, column: u32, o: u32, value: f32) {
    if (STORE == PLAIN) {
        let pixel = row * params.width + column;
        var v = value;
        if (bool(params.add)) { v += residual[params.r0 + pixel * params.ys + o]; }
        y[params.y0 + pixel * params.ys + o] = v;
    } else if (STORE == SHUFFLED) {
        let inner = params.n / 4u;
        let sub = o / inner;
        let pixel = (2u * row + sub / 2u) * 2u * params.width + 2u * column + sub % 2u;
        y[params.y0 + pixel * params.ys + o % inner] = value;
    } else if (o < params.channels) {
        let pixel = (row / 2u) * (params.width / 2u) + column / 2u;
        y[params.y0 + pixel * params.ys + o * 4u + (row % 2u) * 2u + column % 2u] = value;
    }
}

// One invocation computes 4 neighbouring pixels of a row, 16 outputs each.
@compute @workgroup_size(64)
fn conv(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let across = (params.width + 3u) / 4u;
    let tile = group.x * 64u + lane;
    let row = tile / across;
    let column = (tile % across) * 4u;
    if (row >= params.rows) { return; }
    var a0 = mat4x4f();
    var a1 = mat4x4f();
    var a2 = mat4x4f();
    var a3 = mat4x4f();
    let in_image = (params.out_row + row) % params.height;
    for (var dy = 0u; dy < 3u; dy++) {
        if ((dy == 0u && in_image == 0u) || (dy == 2u && in_image + 1u == params.height)) { continue; }
        // Columns clamp into the row; what lies outside is multiplied by zero.
        let start = params.x0 + (params.out_row + row + dy - 1u - params.in_row) * params.width * params.c4;
        for (var dx = 0u; dx < 3u; dx++) {
            let c = column + dx;  // one more than the leftmost tap's column
            let last = params.width;
            let i0 = start + (clamp(c, 1u, last) - 1u) * params.c4;
            let i1 = start + (min(c + 1u, last) - 1u) * params.c4;
            let i2 = start + (min(c + 2u, last) - 1u) * params.c4;
            let i3 = start + (min(c + 3u, last) - 1u) * params.c4;
            let m0 = f32(c >= 1u && c <= last);
            let m1 = f32(c + 1u <= last);
            let m2 = f32(c + 2u <= last);
            let m3 = f32(c + 3u <= last);
            var i = (group.y * 9u + dy * 3u + dx) * params.c4 * 16u;
            for (var k = 0u; k < params.c4 * 4u; k++) {
                let w = mat4x4f(panels[i], panels[i + 1u], panels[i + 2u], panels[i + 3u]);
                a0 += (m0 * x[i0 + k / 4u][k % 4u]) * w;
                a1 += (m1 * x[i1 + k / 4u][k % 4u]) * w;
                a2 += (m2 * x[i2 + k / 4u][k % 4u]) * w;
                a3 += (m3 * x[i3 + k / 4u][k % 4u]) * w;
                i += 4u;
            }
        }
    }
    for (var p = 0u; p < 4u; p++) {
        if (column + p >= params.width) { return; }
        var a = a0;
        if (p == 1u) { a = a1; }
        if (p == 2u) { a = a2; }
        if (p == 3u) { a = a3; }
        for (var j = 0u; j < 4u; j++) {
            let o = group.y * 16u + j * 4u;
            if (o >= params.n) { continue; }
            let v = activate(params.act, a[j] + epilogue[o / 4u], params.slope);
            put(row, column + p, o, v.x);
            put(row, column + p, o + 1u, v.y);
            put(row, column + p, o + 2u, v.z);
            put(row, column + p, o + 3u, v.w);
        }
    }
}
