// mdta_gram: gram of mdta.wgsl, for software Vulkan whose subgroups have eight
//            lanes and heads whose channels are a multiple of eight.
//
// Lanes are channels. A subgroup takes a chunk of strips, COLUMNS pixels by STRIP
// rows, of one head and one block of G, and marches down each as dwconv3x3_strips.wgsl
// does, so that q and k are in registers where they are needed: a q is spread by
// broadcast and multiplied by eight k. No memory is shared, and none waits for others.
// What loops fill are arrays, whose code is small; with constant indices they are as
// good as variables.

struct Params {
    heads: u32,
    c: u32,           // channels of a head
    slots: u32,       // chunks per image and head
    rows: u32,        // of the band, per image
    x0: u32,          // in vec4: of qkv
    y0: u32,          // of v
    height: u32,
    width: u32,
    out_row: u32,     // as in conv3x3.wgsl
    in_row: u32,
    chunk: u32,       // strips per chunk
    first_slot: u32,  // where the band's chunks start
}

const BLOCK: u32 = 48;  // channels of a block of G: a divisor of c, a multiple of 8

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;

const COLUMNS: u32 = 4;
const STRIP: u32 = 64;
const EIGHTS: u32 = BLOCK / 8u;

@compute @workgroup_size(8)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let blocks = params.c / BLOCK;
    let head = group.y / (blocks * blocks);
    let q_block = group.y / blocks % blocks * BLOCK;
    let k_block = group.y % blocks * BLOCK;
    let eights = select(2u, 3u, k_block == 0u) * EIGHTS; // of q, of k and, in one of the blocks, of v
    let wide = params.heads * params.c;
    let stride = 3u * wide;

    // Channels of q, k, v as they are loaded, eight at a time.
    var channel: array<u32, 3u * EIGHTS>;
    var tap: array<array<f32, 10>, 3u * EIGHTS>;
    for (var j = 0u; j < eights; j++) {
        let kind = j / EIGHTS;
        channel[j] = kind * wide + head * params.c + select(q_block, k_block, kind == 1u) + j % EIGHTS * 8u + lane;
        for (var t = 0u; t < 10u; t++) { tap[j][t] = taps[t * stride + channel[j]]; }
    }

    var g: array<array<f32, EIGHTS>, BLOCK>;
    var q2: array<f32, EIGHTS>;
    var k2: array<f32, EIGHTS>;
    var pixel: array<array<f32, COLUMNS + 2u>, 3u * EIGHTS>; // of a row
    var one: array<array<f32, COLUMNS>, 3u * EIGHTS>;        // sums that lack one more row, and two
    var two: array<array<f32, COLUMNS>, 3u * EIGHTS>;

    let across = (params.width + COLUMNS - 1u) / COLUMNS;
    let down = (params.rows + STRIP - 1u) / STRIP;
    let last = min((group.x + 1u) * params.chunk, across * down);
    let above = (params.out_row + group.z * params.rows) % params.height; // rows of the image above the band
    for (var strip = group.x * params.chunk; strip < last; strip++) {
        let first = strip % across * COLUMNS;
        let begin = strip / across * STRIP;
        let end = min(begin + STRIP, params.rows);
        for (var r = begin; r < end + 2u; r++) {
            // Row r - 1 of the band, where the image has it.
            let there = above + r >= 1u && above + r <= params.height;
            let row = select(0u, params.out_row - params.in_row + group.z * params.rows + r - 1u, there);
            for (var j = 0u; j < eights; j++) {
                let start = 4u * params.x0 + row * params.width * stride + channel[j];
                for (var p = 0u; p < COLUMNS + 2u; p++) { // unroll
                    let at = clamp(first + p, 1u, params.width); // from one left of the image
                    pixel[j][p] = select(0.0, qkv[start + (at - 1u) * stride], there && at == first + p);
                }
            }
            let whole = r >= begin + 2u;
            var d = array<array<f32, COLUMNS>, 3u * EIGHTS>(); // scalars
            for (var j = 0u; j < 3u * EIGHTS; j++) { // unroll
                for (var p = 0u; p < COLUMNS; p++) { // unroll
                    d[j][p] = select(0.0, one[j][p] + tap[j][6] * pixel[j][p] + tap[j][7] * pixel[j][p + 1u] + tap[j][8] * pixel[j][p + 2u],
                        whole && first + p < params.width);
                    one[j][p] = two[j][p] + tap[j][3] * pixel[j][p] + tap[j][4] * pixel[j][p + 1u] + tap[j][5] * pixel[j][p + 2u];
                    two[j][p] = tap[j][9] + tap[j][0] * pixel[j][p] + tap[j][1] * pixel[j][p + 1u] + tap[j][2] * pixel[j][p + 2u];
                }
            }
            for (var i = 0u; i < BLOCK; i++) { // unroll
                var q = array<f32, COLUMNS>(); // scalars
                for (var p = 0u; p < COLUMNS; p++) { // unroll
                    q[p] = subgroupBroadcast(d[i / 8u][p], i % 8u);
                }
                for (var j = 0u; j < EIGHTS; j++) { // unroll
                    var sum = g[i][j];
                    for (var p = 0u; p < COLUMNS; p++) { // unroll
                        sum += q[p] * d[EIGHTS + j][p];
                    }
                    g[i][j] = sum;
                }
            }
            for (var j = 0u; j < EIGHTS; j++) { // unroll
                for (var p = 0u; p < COLUMNS; p++) { // unroll
                    q2[j] += d[j][p] * d[j][p];
                    k2[j] += d[EIGHTS + j][p] * d[EIGHTS + j][p];
                }
            }
            if (whole && k_block == 0u) {
                let to = 4u * params.y0 + ((group.z * params.rows + r - 2u) * params.width + first) * wide + head * params.c + q_block + lane;
                for (var p = 0u; p < COLUMNS; p++) { // unroll
                    if (first + p < params.width) {
                        for (var j = 0u; j < EIGHTS; j++) { // unroll
                            v[to + p * wide + 8u * j] = d[2u * EIGHTS + j][p];
                        }
                    }
                }
            }
        }
    }

    // A slot: G row by row, then the squared norms of q, then of k.
    let slot = ((group.z * params.heads + head) * params.slots + params.first_slot + group.x) * (params.c + 2u) * params.c;
    for (var j = 0u; j < EIGHTS; j++) {
        for (var i = 0u; i < BLOCK; i++) {
            partials[slot + (q_block + i) * params.c + k_block + 8u * j + lane] = g[i][j];
        }
        if (k_block == 0u) { partials[slot + params.c * params.c + q_block + 8u * j + lane] = q2[j]; }
        if (q_block == 0u) { partials[slot + (params.c + 1u) * params.c + k_block + 8u * j + lane] = k2[j]; }
    }
}
