// dwconv3x3: depthwise 3x3 convolution, zero padding 1, on images [N, H, W, C].
//            PyTorch: F.conv2d(x, w, b, padding=1, groups=C)
//   x [rows, W, C]   taps [10, C]: nine taps, then the bias   y [rows, W, C]
// gate: the channels are two halves a, b, and
//   y = gelu(dw(a)) * dw(b)     [rows, W, C/2]     (GDFN, between its 1x1s)
// Bands as in conv3x3.wgsl.

// import: activation

struct Params {
    height: u32,
    width: u32,
    out_row: u32,
    rows: u32,
    in_row: u32,
    c4: u32,     // stored channels of x / 4
    x0: u32,     // in vec4
    y0: u32,
    stride: u32, // rows a step along the second axis of workgroups covers
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
    let in_image = (params.out_row + row) % params.height;
    for (var dy = 0u; dy < 3u; dy++) {
        if ((dy == 0u && in_image == 0u) || (dy == 2u && in_image + 1u == params.height)) { continue; }
        let start = params.x0 + (params.out_row + row + dy - 1u - params.in_row) * params.width * params.c4 + c;
        let t0 = taps[(dy * 3u) * params.c4 + c];
        let t1 = taps[(dy * 3u + 1u) * params.c4 + c];
        let t2 = taps[(dy * 3u + 2u) * params.c4 + c];
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

// Lanes run along the channels, so that neighbours read neighbouring memory.
@compute @workgroup_size(64)
fn plain(@builtin(global_invocation_id) id: vec3u) {
    let across = (params.width + 3u) / 4u;
    let tile = id.x / params.c4;
    let c = id.x % params.c4;
    let row = tile / across + id.y * params.stride;
    let first = (tile % across) * 4u;
    if (tile >= across * params.stride || row >= params.rows) { return; }
    let out = four(row, first, c);
    for (var p = 0u; p < 4u && first + p < params.width; p++) {
        y[params.y0 + (row * params.width + first + p) * params.c4 + c] = out[p];
    }
}

@compute @workgroup_size(64)
fn gate(@builtin(global_invocation_id) id: vec3u) {
    let half_width = params.c4 / 2u;
    let across = (params.width + 3u) / 4u;
    let tile = id.x / half_width;
    let c = id.x % half_width;
    let row = tile / across + id.y * params.stride;
    let first = (tile % across) * 4u;
    if (tile >= across * params.stride || row >= params.rows) { return; }
    let a = four(row, first, c);
    let b = four(row, first, half_width + c);
    for (var p = 0u; p < 4u && first + p < params.width; p++) {
        y[params.y0 + (row * params.width + first + p) * half_width + c] = gelu(a[p]) * b[p];
    }
}
