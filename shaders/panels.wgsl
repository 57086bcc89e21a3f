// panels: where the packed weights of a linear map [N, K] lie, imported by
//         other shaders. N is rounded up to blocks of 16.
//   depth 0   [N/16][K][16]              any tile of outputs is one contiguous read
//   else      [K/depth][N/4][depth][4]   for linear_rows.wgsl, K rounded up with zeros

// packed4 returns where outputs 4 o4 to 4 o4 + 3 of input k lie in an image's
// weights, in vec4.
fn packed4(o4: u32, k: u32, all: u32, blocks: u32, depth: u32) -> u32 {
    if (depth == 0u) { return (o4 / 4u * all + k) * 4u + o4 % 4u; }
    return (k / depth * blocks * 4u + o4) * depth + k % depth;
}

// packed_inputs is K, all, as packed.
fn packed_inputs(all: u32, depth: u32) -> u32 {
    if (depth == 0u) { return all; }
    return (all + depth - 1u) / depth * depth;
}
