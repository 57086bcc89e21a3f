// diffusion: one reverse step of the sampler, without added noise.
//   source: HI-Diff's DDPM (p_sample) and its latent variant; SPEC §4
//   x0 = clamp(recip x - recipm1 e, -1, 1) if the denoiser predicts noise e,
//        else the denoiser's output e itself
//   y  = coef1 x0 + coef2 x       (the posterior mean)

struct Params {
    n4: u32,
    recip: f32,
    recipm1: f32,
    coef1: f32,
    coef2: f32,
}

const PREDICTS_NOISE: bool = true;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> e: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

@compute @workgroup_size(64)
fn step(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if (i >= params.n4) { return; }
    var x0 = e[i];
    if (PREDICTS_NOISE) {
        x0 = clamp(params.recip * x[i] - params.recipm1 * e[i], vec4f(-1.0), vec4f(1.0));
    }
    y[i] = params.coef1 * x0 + params.coef2 * x[i];
}
