// step_bias: what the time adds to the denoiser's first layer, a bias for each
//            step of the sampler.   Source: HI-Diff's denoising, simple_denoise
//   w [outputs, row]   time_mlp [1] (denoising only)
//   bias[t, o] = (t + first) * factor * time_mlp * sum of w[o, from..from+columns]
// The gradient adds to that of w's columns and of time_mlp; one workgroup does
// it all, because there is little to do.

struct Params {
    outputs: u32,
    row: u32,
    begin: u32,     // the first column
    columns: u32,
    steps: u32,
    stride: u32,    // floats from one step's biases to the next's
    first: f32,
    factor: f32,
}

const LEARNED: bool = false;  // whether there is a time_mlp

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> time_mlp: array<f32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;

fn columns_of(o: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < params.columns; i++) { sum += w[o * params.row + params.begin + i]; }
    return sum;
}

fn scale() -> f32 {
    if (LEARNED) { return params.factor * time_mlp[0]; }
    return params.factor;
}

@compute @workgroup_size(64)
fn step_bias(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= params.outputs) { return; }
    let share = columns_of(id.x) * scale();
    for (var t = 0u; t < params.steps; t++) {
        bias[t * params.stride + id.x] = (f32(t) + params.first) * share;
    }
}

@group(0) @binding(3) var<storage, read> dbias: array<f32>;
@group(0) @binding(4) var<storage, read_write> dw: array<f32>;
@group(0) @binding(5) var<storage, read_write> dtime_mlp: array<f32>;

var<workgroup> shares: array<f32, 256>;

@compute @workgroup_size(256)
fn step_bias_gradient(@builtin(local_invocation_index) lane: u32) {
    var share = 0.0;
    for (var o = lane; o < params.outputs; o += 256u) {
        var d = 0.0;
        for (var t = 0u; t < params.steps; t++) { d += (f32(t) + params.first) * dbias[t * params.stride + o]; }
        share += d * params.factor * columns_of(o);
        for (var i = 0u; i < params.columns; i++) {
            dw[o * params.row + params.begin + i] += d * scale();
        }
    }
    shares[lane] = share;
    workgroupBarrier();
    if (LEARNED && lane == 0u) {
        var sum = 0.0;
        for (var i = 0u; i < 256u; i++) { sum += shares[i]; }
        dtime_mlp[0] += sum;
    }
}
