// norm: kinds of LayerNorm, imported by other shaders.

alias Norm = u32;
const NO_NORM: Norm = 0;
const WITH_BIAS: Norm = 1;
const BIAS_FREE: Norm = 2;  // no mean subtracted, no bias; the variance still about the mean
