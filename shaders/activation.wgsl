// activation: pointwise non-linearities, imported by other shaders.
//   gelu        x * (1 + erf(x / sqrt(2))) / 2      PyTorch: F.gelu (exact)
//   leaky_relu  max(x, 0) + slope * min(x, 0)       PyTorch: F.leaky_relu

alias ActKind = u32;
const ACT_NONE: ActKind = 0;
const ACT_GELU: ActKind = 1;
const ACT_LEAKY: ActKind = 2;

// erf as t * P(t^2) / Q(t^2) on |t| <= 4, where |erf| has reached 1 in f32;
// the coefficients are the minimax fit that Eigen and XLA use (about 3 ulp).
fn erf(v: vec4f) -> vec4f {
    let t = clamp(v, vec4f(-4.0), vec4f(4.0));
    let s = t * t;
    var p = vec4f(-2.72614225801306e-10);
    p = fma(p, s, vec4f(2.77068142495902e-08));
    p = fma(p, s, vec4f(-2.10102402082508e-06));
    p = fma(p, s, vec4f(-5.69250639462346e-05));
    p = fma(p, s, vec4f(-7.34990630326855e-04));
    p = fma(p, s, vec4f(-2.95459980854025e-03));
    p = fma(p, s, vec4f(-1.60960333262415e-02));
    var q = vec4f(-1.45660718464996e-05);
    q = fma(q, s, vec4f(-2.13374055278905e-04));
    q = fma(q, s, vec4f(-1.68282697438203e-03));
    q = fma(q, s, vec4f(-7.37332916720468e-03));
    q = fma(q, s, vec4f(-1.42647390514189e-02));
    return clamp(t * p / q, vec4f(-1.0), vec4f(1.0));
}

fn gelu(v: vec4f) -> vec4f {
    return 0.5 * v * (1.0 + erf(v * 0.70710678118654752));
}

fn leaky_relu(v: vec4f, slope: f32) -> vec4f {
    return select(slope * v, v, v > vec4f());  // keeps NaN, which max need not
}

// keep_nan returns v, but x where that is NaN: min and max may lose one.
fn keep_nan(v: vec4f, x: vec4f) -> vec4f {
    return select(v, x, (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}

fn activate(kind: ActKind, v: vec4f, slope: f32) -> vec4f {
    switch kind {
        case ACT_GELU: { return gelu(v); }
        case ACT_LEAKY: { return leaky_relu(v, slope); }
        default: { return v; }
    }
}

// gelu_gradient is Phi(x) + x phi(x), of the normal distribution.
fn gelu_gradient(v: vec4f) -> vec4f {
    return 0.5 + 0.5 * erf(v * 0.70710678118654752) + v * exp(-0.5 * v * v) * 0.39894228040143268;
}

// activate_gradient is the derivative of activate at v; PyTorch takes the slope
// at zero for LeakyReLU's.
fn activate_gradient(kind: ActKind, v: vec4f, slope: f32) -> vec4f {
    switch kind {
        case ACT_GELU: { return gelu_gradient(v); }
        case ACT_LEAKY: { return select(vec4f(slope), vec4f(1.0), v > vec4f()); }
        default: { return vec4f(1.0); }
    }
}
