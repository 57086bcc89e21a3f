// mdta: multi-dconv head transposed attention, from the qkv projection on.
//   source: Restormer §3.1; HI-Diff's Attention
//   qkv [rows, W, 3 heads c]: per head q, k, v before the depthwise 3x3
//   q, k, v = dw(qkv);   attn = softmax(temperature q̂ᵀ k̂)  [c, c] over pixels
//   out = project_out(attn v)
// The only sums over the whole image are G = qᵀ k and the squared norms of q
// and k, so qkv is needed band by band, and q and k are never stored:
//   gram    dw in workgroup memory; v to memory, partial G and norms per chunk
//   attend  fixed-order sum of the partials, softmax, then M = project_out
//           blockdiag(attn), packed in panels: attention and projection are
//           then one matrix product over v (linear.wgsl)
// Backward has one sum over the whole image too, E = dyᵀ v. The rest of it are
// matrices of c x c, and in the end one pass over the pixels:
//   products_back  d attn, M row by row, and what an image adds to d project_out
//   attend_back    softmax and norms: dG, and how much of q and k themselves
//                  their gradients hold, because norms changed
//   apply_back     dq = dG k + alpha q,  dk = dGᵀ q + beta k,  dv = Mᵀ dy

// import: layout
// import: panels

struct Params {
    heads: u32,
    c: u32,           // channels of a head
    c4: u32,          // and as stored, in vec4
    slots: u32,       // chunks per image and head
    pixels: u32,      // of the band, per image
    x0: u32,          // in vec4: of qkv, or of what apply_back multiplies
    y0: u32,          // of v
    image: u32,       // apply_back: the band's first
    images: u32,      // attend, products_back: all
    height: u32,      // gram:
    width: u32,
    out_row: u32,     // as in conv3x3.wgsl
    in_row: u32,
    block4: u32,      // channels / 4 of a block of G, at most 16
    chunk: u32,       // tiles per chunk
    first_slot: u32,  // where the band's chunks start
}

const BIAS: bool = false;    // attend: there is an out_bias
const VALUES: bool = false;  // apply_back: dv from dy, else dq and dk from q and k
const DEPTH: u32 = 0;        // of M's weights, see panels.wgsl

@group(0) @binding(0) var<uniform> params: Params;

// --- gram: a workgroup takes one chunk, one head, one block of G --------------

const TILE: u32 = 32;  // pixels of a row staged at a time

@group(0) @binding(1) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(2) var<storage, read> taps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> partials_out: array<vec4f>;

var<workgroup> qs: array<vec4f, 512>;  // [TILE][16]
var<workgroup> ks: array<vec4f, 512>;

// column loads channels 4c to 4c+3 at a column, counted from one left of the
// image, of the row that starts at start.
fn column(start: u32, at: u32) -> vec4f {
    if (at == 0u || at > params.width) { return vec4f(); }
    return qkv[start + (at - 1u) * 3u * params.heads * params.c4];
}

// Three rows of a column.
struct Column { above: vec4f, middle: vec4f, below: vec4f }

@compute @workgroup_size(256)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let blocks = (params.c4 + params.block4 - 1u) / params.block4;
    let head = group.y / (blocks * blocks);
    let q_block = (group.y / blocks) % blocks * params.block4;
    let k_block = group.y % blocks * params.block4;
    // Lanes of the convolution: a run of 8 pixels, and 4 channels of q, of k or
    // (in one of the blocks) of v.
    let kinds = select(2u, 3u, k_block == 0u);
    let lanes = kinds * params.block4;
    let run = lane / lanes;
    let kind = (lane % lanes) / params.block4;
    let within = lane % params.block4;
    let c = select(k_block, q_block, kind != 1u) + within;
    let busy = run < TILE / 8u && c < params.c4;
    let stride = 3u * params.heads * params.c4;
    let channel = (kind * params.heads + head) * params.c4 + c;
    // Lanes of G: one 4x4 tile each.
    let i = lane / 16u;
    let j = lane % 16u;
    let counts = i < params.block4 && j < params.block4;
    var g = mat4x4f();
    var q2 = vec4f();
    var k2 = vec4f();
    let across = (params.width + TILE - 1u) / TILE;
    let rows = params.pixels / params.width;
    let begin = group.x * params.chunk;
    let end = min(begin + params.chunk, rows * across);
    for (var tile = begin; tile < end; tile++) {
        let row = group.z * rows + tile / across;
        let left = tile % across * TILE;
        if (busy) {
            let first = left + 8u * run;
            let in_image = (params.out_row + row) % params.height;
            let middle = params.x0 + (params.out_row + row - params.in_row) * params.width * stride + channel;
            let above = middle - params.width * stride;
            let below = middle + params.width * stride;
            let up = f32(in_image > 0u);
            let down = f32(in_image + 1u < params.height);
            // The image's edge is zero: its taps are, and its row is any other.
            let ta0 = up * taps[channel];
            let ta1 = up * taps[stride + channel];
            let ta2 = up * taps[2u * stride + channel];
            let tm0 = taps[3u * stride + channel];
            let tm1 = taps[4u * stride + channel];
            let tm2 = taps[5u * stride + channel];
            let tb0 = down * taps[6u * stride + channel];
            let tb1 = down * taps[7u * stride + channel];
            let tb2 = down * taps[8u * stride + channel];
            let bias = taps[9u * stride + channel];
            let a = select(middle, above, in_image > 0u);
            let b = select(middle, below, in_image + 1u < params.height);
            var c0 = Column(column(a, first), column(middle, first), column(b, first));
            var c1 = Column(column(a, first + 1u), column(middle, first + 1u), column(b, first + 1u));
            for (var p = 0u; p < 8u; p++) {
                let at = first + p;
                let c2 = Column(column(a, at + 2u), column(middle, at + 2u), column(b, at + 2u));
                var value = bias + ta0 * c0.above + ta1 * c1.above + ta2 * c2.above
                    + tm0 * c0.middle + tm1 * c1.middle + tm2 * c2.middle
                    + tb0 * c0.below + tb1 * c1.below + tb2 * c2.below;
                c0 = c1;
                c1 = c2;
                if (at >= params.width) { value = vec4f(); }
                if (kind == 0u) { qs[(8u * run + p) * 16u + within] = value; }
                if (kind == 1u) { ks[(8u * run + p) * 16u + within] = value; }
                if (kind == 2u && at < params.width) {
                    v[params.y0 + ((row * params.width + at) * params.heads + head) * params.c4 + c] = value;
                }
            }
        }
        workgroupBarrier();
        if (counts) {
            for (var p = 0u; p < TILE; p++) {
                let q = qs[p * 16u + i];
                let k = ks[p * 16u + j];
                g += mat4x4f(q.x * k, q.y * k, q.z * k, q.w * k);
                q2 += q * q;
                k2 += k * k;
            }
        }
        workgroupBarrier();
    }
    if (!counts || q_block + i >= params.c4 || k_block + j >= params.c4) { return; }
    // A slot: G row by row, then the squared norms of q, then of k.
    let slot = ((group.z * params.heads + head) * params.slots + params.first_slot + group.x) * (params.c4 * 4u + 2u) * params.c4;
    for (var r = 0u; r < 4u; r++) {
        partials_out[slot + ((q_block + i) * 4u + r) * params.c4 + k_block + j] = g[r];
    }
    if (k_block + j == 0u) { partials_out[slot + params.c4 * 4u * params.c4 + q_block + i] = q2; }
    if (q_block + i == 0u) { partials_out[slot + (params.c4 * 4u + 1u) * params.c4 + k_block + j] = k2; }
}

// --- attend: an invocation takes 16 x 4 elements of one head's M --------------
// Every workgroup takes the sums and the softmax of its whole head for itself,
// in its own copy: none can wait for another.
//   sums [copies, images, heads, 4 c4 + 2, 4 c4], as in a slot
//   attn [copies, images, heads, 4 c4, 4 c4]

@group(0) @binding(1) var<storage, read> temperature: array<f32>;
@group(0) @binding(2) var<storage, read> project_out: array<f32>;  // [heads c, heads c]
@group(0) @binding(3) var<storage, read> partials: array<vec4f>;
@group(0) @binding(4) var<storage, read> out_bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> sums_out: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> attn_out: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> panels: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> epilogue: array<f32>;

// total adds an element of all slots of a head in their order; first is where
// the first slot has it. Four loads at a time need not wait for each other.
fn total(first: u32) -> vec4f {
    let size = (params.c4 * 4u + 2u) * params.c4;
    var sum = vec4f();
    var at = first;
    var s = 0u;
    for (; s + 4u <= params.slots; s += 4u) {
        let a = partials[at];
        let b = partials[at + size];
        let c = partials[at + 2u * size];
        let d = partials[at + 3u * size];
        sum = sum + a + b + c + d;
        at += 4u * size;
    }
    for (; s < params.slots; s++) {
        sum += partials[at];
        at += size;
    }
    return sum;
}

fn norms(squares: vec4f) -> vec4f { return max(sqrt(squares), vec4f(1e-12)); }

// cosines returns four elements of a row of q̂ᵀ k̂ from those of G and the squared
// norms.
fn cosines(g: vec4f, q2: f32, k2: vec4f) -> vec4f { return g / norms(vec4f(q2)) / norms(k2); }

// softmax fills the row of attn_out that starts at to; mine is where the head's
// sums start.
fn softmax(mine: u32, row: u32, to: u32, scale: f32) {
    let c4 = params.c4;
    let q2 = sums_out[mine + 4u * c4 * c4 + row / 4u][row % 4u];
    let k2 = mine + (4u * c4 + 1u) * c4;
    var top = -3.0e38;
    for (var j = 0u; j < c4; j++) {
        let logits = select(vec4f(-3.0e38), cosines(sums_out[mine + row * c4 + j], q2, sums_out[k2 + j]) * scale, used(j, params.c));
        attn_out[to + j] = logits;
        top = max(top, max(max(logits.x, logits.y), max(logits.z, logits.w)));
    }
    var sum = 0.0;
    for (var j = 0u; j < c4; j++) {
        let e = select(vec4f(), exp(attn_out[to + j] - top), used(j, params.c));
        attn_out[to + j] = e;
        sum += dot(e, vec4f(1.0));
    }
    for (var j = 0u; j < c4; j++) {
        attn_out[to + j] = select(vec4f(), attn_out[to + j] / sum, row < params.c);
    }
}

fn padded(n: u32) -> u32 { return (n + 3u) / 4u * 4u; }

// rows4 returns four rows, each a times an element of u.
fn rows4(u: vec4f, a: vec4f) -> mat4x4f { return mat4x4f(u.x * a, u.y * a, u.z * a, u.w * a); }

// kept zeroes the rows from number count on; first is the number of the first.
fn kept(rows: mat4x4f, first: u32, count: u32) -> mat4x4f {
    var m = rows;
    for (var r = 0u; r < 4u; r++) { m[r] = select(vec4f(), m[r], first + r < count); }
    return m;
}

// outputs returns column i of a head in four rows of project_out from o on,
// with the last in place of those past it.
fn outputs(o: u32, head: u32, i: u32) -> vec4f {
    let dim = params.heads * params.c;
    let at = min(vec4u(o) + vec4u(0u, 1u, 2u, 3u), vec4u(dim - 1u)) * dim + head * params.c + i;
    return vec4f(project_out[at.x], project_out[at.y], project_out[at.z], project_out[at.w]);
}

// folded4 returns where outputs 4 o4 to 4 o4 + 3 of M have channel k of a head.
fn folded4(image: u32, o4: u32, head: u32, k: u32) -> u32 {
    let n = (params.heads * params.c + 15u) / 16u;  // panels of an image
    let all = params.heads * params.c4 * 4u;
    return image * n * 4u * packed_inputs(all, DEPTH) + packed4(o4, head * params.c4 * 4u + k, all, n, DEPTH);
}

@compute @workgroup_size(256)
fn attend(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c4 = params.c4;
    let head = group.y % params.heads;
    let image = group.y / params.heads;
    let copy = group.x * params.images * params.heads + group.y;
    let size = (4u * c4 + 2u) * c4;
    for (var e = lane; e < size; e += 256u) {
        sums_out[copy * size + e] = total(group.y * params.slots * size + e);
    }
    storageBarrier();
    let map = copy * 4u * c4 * c4;
    for (var row = lane; row < 4u * c4; row += 256u) {
        softmax(copy * size, row, map + row * c4, temperature[head]);
    }
    storageBarrier();
    let id = group.x * 256u + lane;
    let panel = id / c4;
    let j = id % c4;
    let dim = params.heads * params.c;
    let first = panel * 16u;
    if (first >= dim) { return; }
    var m: array<mat4x4f, 4>;
    for (var g = 0u; g < 4u; g++) { m[g] = mat4x4f(); }
    for (var i = 0u; i < params.c; i++) {
        let a = attn_out[map + i * c4 + j];
        for (var g = 0u; g < 4u; g++) { m[g] += rows4(a, outputs(first + 4u * g, head, i)); }
    }
    for (var g = 0u; g < 4u; g++) {
        let real = used(4u * panel + g, dim);
        for (var i = 0u; i < 4u; i++) { panels[folded4(image, 4u * panel + g, head, 4u * j + i)] = select(vec4f(), m[g][i], real); }
    }
    if (head > 0u || j > 0u) { return; }
    let n = padded(dim);
    for (var o = first; o < min(first + 16u, n); o++) {
        var b = 0.0;
        if (BIAS && o < dim) { b = out_bias[o]; }
        epilogue[image * 2u * n + o] = b;
    }
}

// --- products_back: an invocation takes 4 x 4 elements of one product ---------
// dyv [images, n, heads 4 c4] is E, n = heads c padded.   maps [images, heads]:
//   dGᵀ and dG [4 c4, 4 c4] (here d attn is put in the place of dG), M [n, 4 c4]
// dproject [heads c, heads c] is added to

@group(0) @binding(1) var<storage, read> dyv: array<vec4f>;
@group(0) @binding(3) var<storage, read> attn: array<vec4f>;    // attend's first copies
@group(0) @binding(4) var<storage, read> folded: array<vec4f>;  // its panels
@group(0) @binding(5) var<storage, read_write> maps_out: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dproject: array<f32>;

// stored_dim returns n.
fn stored_dim() -> u32 { return padded(params.heads * params.c); }

// map_size counts one head's maps, in vec4.
fn map_size() -> u32 { return (8u * params.c4 + stored_dim()) * params.c4; }

// attn_back returns rows i to i + 3, columns 4j to 4j + 3 of d attn.
fn attn_back(i: u32, image: u32, head: u32, j: u32) -> mat4x4f {
    let dim = params.heads * params.c;
    let p = head * params.c + min(vec4u(i) + vec4u(0u, 1u, 2u, 3u), vec4u(params.c - 1u));
    let e = (image * stored_dim() * params.heads + head) * params.c4 + j;
    var m = mat4x4f();
    for (var o = 0u; o < dim; o++) {
        let row = o * dim;
        m += rows4(vec4f(project_out[p.x + row], project_out[p.y + row], project_out[p.z + row], project_out[p.w + row]),
            dyv[e + o * params.heads * params.c4]);
    }
    return kept(m, i, params.c);
}

@compute @workgroup_size(64)
fn products_back(@builtin(global_invocation_id) id: vec3u) {
    let c4 = params.c4;
    let head = id.y % params.heads;
    let image = id.y / params.heads;
    let row4 = id.x / c4;
    let j = id.x % c4;
    let n = stored_dim();
    if (row4 >= c4 + n / 4u) { return; }
    var m: mat4x4f;
    if (row4 < c4) {
        m = attn_back(4u * row4, image, head, j);
    } else {
        for (var i = 0u; i < 4u; i++) { m[i] = folded[folded4(image, row4 - c4, head, 4u * j + i)]; }
        m = transpose(m);
    }
    let to = id.y * map_size() + 4u * (c4 + row4) * c4 + j;
    for (var r = 0u; r < 4u; r++) { maps_out[to + r * c4] = m[r]; }
    if (row4 < c4 || image > 0u) { return; }
    // Of all images: d project_out = E attnᵀ.
    let first = 4u * (row4 - c4);
    m = mat4x4f();
    for (var k = 0u; k < params.images; k++) {
        let e = ((k * n + first) * params.heads + head) * c4;
        let across = params.heads * c4;
        let a = ((k * params.heads + head) * c4 + j) * 4u * c4;
        for (var l = 0u; l < c4; l++) {
            let rows = mat4x4f(attn[a + l], attn[a + c4 + l], attn[a + 2u * c4 + l], attn[a + 3u * c4 + l]);
            for (var r = 0u; r < 4u; r++) { m[r] += dyv[e + r * across + l] * rows; }
        }
    }
    let dim = params.heads * params.c;
    for (var r = 0u; r < min(4u, dim - min(dim, first)); r++) {
        for (var i = 0u; i < min(4u, params.c - min(params.c, 4u * j)); i++) {
            dproject[(first + r) * dim + head * params.c + 4u * j + i] += m[r][i];
        }
    }
}

// --- attend_back: a workgroup takes one head of one image ---------------------
// dtemperature [images, heads padded]   diagonals [images, heads, 2, 4 c4]: alpha, beta
//   dS = attn (d attn - sum_j d attn attn),   d temperature = sum dS q̂ᵀk̂
//   dG = temperature dS / |q| / |k|,   alpha = -sum_j dG G / |q|²,   beta = -sum_i dG G / |k|²

@group(0) @binding(2) var<storage, read> sums: array<vec4f>;  // attend's first copies
@group(0) @binding(4) var<storage, read_write> maps: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> dtemperature: array<f32>;
@group(0) @binding(6) var<storage, read_write> diagonals: array<f32>;

var<workgroup> shares: array<f32, 256>;

// pull is how a vector's gradient holds the vector: not at all where its norm is
// clamped.
fn pull(along: f32, squares: f32) -> f32 {
    return select(0.0, -along / squares, sqrt(squares) >= 1e-12);
}

@compute @workgroup_size(256)
fn attend_back(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c4 = params.c4;
    let stored = 4u * c4;
    let mine = group.x * (stored + 2u) * c4;  // G, then |q|², then |k|²
    let a = group.x * stored * c4;
    let turned = group.x * map_size();
    let dg = turned + stored * c4;
    let diagonal = group.x * 2u * stored;
    let scale = temperature[group.x % params.heads];
    var share = 0.0;
    for (var row = lane; row < stored; row += 256u) {
        var mean = 0.0;
        for (var j = row * c4; j < row * c4 + c4; j++) { mean += dot(maps[dg + j], attn[a + j]); }
        let q2 = sums[mine + stored * c4 + row / 4u][row % 4u];
        let q = norms(vec4f(q2)).x;
        var along = 0.0;
        for (var j = 0u; j < c4; j++) {
            let ds = attn[a + row * c4 + j] * (maps[dg + row * c4 + j] - mean);
            let k2 = sums[mine + (stored + 1u) * c4 + j];
            along += dot(ds, cosines(sums[mine + row * c4 + j], q2, k2));
            maps[dg + row * c4 + j] = scale * ds / q / norms(k2);
        }
        share += along;
        diagonals[diagonal + row] = pull(scale * along, q2);
    }
    shares[lane] = share;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { shares[lane] += shares[lane + half]; }
    }
    let entry = group.x / params.heads * padded(params.heads) + group.x % params.heads;
    if (lane == 0u) { dtemperature[entry] = shares[0]; }
    if ((group.x + 1u) % params.heads == 0u && lane < padded(params.heads) - params.heads) { dtemperature[entry + 1u + lane] = 0.0; }
    storageBarrier();
    for (var key = lane; key < stored; key += 256u) {
        var along = 0.0;
        for (var i = 0u; i < stored; i++) {
            let at = i * c4 + key / 4u;
            along += maps[dg + at][key % 4u] * sums[mine + at][key % 4u];
        }
        diagonals[diagonal + stored + key] = pull(along, sums[mine + (stored + 1u) * c4 + key / 4u][key % 4u]);
    }
    for (var e = lane; e < stored * c4; e += 256u) {
        let key = e / c4;
        let at = dg + e % c4 * stored + key / 4u;
        maps[turned + e] = vec4f(maps[at][key % 4u], maps[at + c4][key % 4u],
            maps[at + 2u * c4][key % 4u], maps[at + 3u * c4][key % 4u]);
    }
}

// --- apply_back: an invocation takes 8 pixels, 8 channels ---------------------
// du [rows, W, 3 heads c]: gradients of q, k and v

@group(0) @binding(1) var<storage, read> maps_in: array<vec4f>;
@group(0) @binding(2) var<storage, read> diagonals_in: array<vec4f>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;  // q, k and v, or dy
@group(0) @binding(4) var<storage, read_write> du: array<vec4f>;

@compute @workgroup_size(64)
fn apply_back(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c4 = params.c4;
    let pairs = (c4 + 1u) / 2u;
    let id = number(group) * 64u + lane;
    let first = id / (params.heads * pairs) * 8u;
    if (first >= params.pixels) { return; }
    let head = id / pairs % params.heads;
    let j = id % pairs * 2u;
    let both = j + 1u < c4;
    let kind = select(group.z % 2u, 2u, VALUES);
    let image = select(group.z / 2u, group.z, VALUES);
    let row = 3u * params.heads * c4;
    let own = (kind * params.heads + head) * c4 + j;
    let base = image * params.pixels;
    var stride = row;
    var depth = c4;
    var channel = ((1u - kind) * params.heads + head) * c4;  // dq comes of k, dk of q
    if (VALUES) {
        stride = stored_dim() / 4u;
        depth = stride;
        channel = 0u;
    }
    var at: array<u32, 8>;
    var left: array<vec4f, 8>;
    var right: array<vec4f, 8>;
    for (var p = 0u; p < 8u; p++) {
        at[p] = params.x0 + (base + min(first + p, params.pixels - 1u)) * stride + channel;
        left[p] = vec4f();
        right[p] = vec4f();
    }
    let cell = (params.image + image) * params.heads + head;
    var m = cell * map_size() + kind * 4u * c4 * c4 + j;
    let beside = select(0u, 1u, both);
    for (var k = 0u; k < depth; k++) {
        let a = mat4x4f(maps_in[m], maps_in[m + c4], maps_in[m + 2u * c4], maps_in[m + 3u * c4]);
        m += beside;
        let b = mat4x4f(maps_in[m], maps_in[m + c4], maps_in[m + 2u * c4], maps_in[m + 3u * c4]);
        m += 4u * c4 - beside;
        for (var p = 0u; p < 8u; p++) {
            let four = x[at[p] + k];
            left[p] += a * four;
            right[p] += b * four;
        }
    }
    let d = (2u * cell + kind) * c4 + j;
    for (var p = 0u; p < min(8u, params.pixels - first); p++) {
        let pixel = (base + first + p) * row + own;
        if (!VALUES) {
            left[p] += diagonals_in[d] * x[params.x0 + pixel];
            if (both) { right[p] += diagonals_in[d + 1u] * x[params.x0 + pixel + 1u]; }
        }
        du[pixel] = left[p];
        if (both) { du[pixel + 1u] = right[p]; }
    }
}
