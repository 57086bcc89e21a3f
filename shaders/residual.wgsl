// residual: what linear maps add to their product, imported by other shaders.

// import: activation

alias ResidualKind = u32;
const RESIDUAL_NONE: ResidualKind = 0;
const RESIDUAL_ADDED: ResidualKind = 1;     // from residual
const RESIDUAL_IN_PLACE: ResidualKind = 2;  // y += ...
const REVERSE_NOISE: ResidualKind = 3;      // a reverse diffusion step of the sample in residual,
const REVERSE_START: ResidualKind = 4;      // from predicted noise or from x0 itself

// residual_with returns v with the residual r; step has a reverse step's recip,
// recipm1, coef1 and coef2.
fn residual_with(kind: ResidualKind, v: vec4f, r: vec4f, step: vec4f) -> vec4f {
    if (kind == RESIDUAL_ADDED) { return v + r; }
    // The denoiser has predicted noise or x0 itself for the sample r;
    // the next sample is the posterior mean. Source: HI-Diff's DDPM.p_sample.
    var x0 = v;
    if (kind == REVERSE_NOISE) {
        x0 = step.x * r - step.y * v;
        x0 = keep_nan(clamp(x0, vec4f(-1.0), vec4f(1.0)), x0);
    }
    return step.z * x0 + step.w * r;
}
