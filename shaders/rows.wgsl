// rows: sums and maxima over a row that sixteen invocations of a workgroup of
//       64 share (so it holds four rows), imported by other shaders.
//
// Every invocation of the workgroup must call these; all sixteen get the
// result, summed in a fixed order.

var<workgroup> shares: array<f32, 64>;

fn row_sum(share: f32, lane: u32) -> f32 {
    workgroupBarrier(); // the last result has been read
    shares[lane] = share;
    workgroupBarrier();
    let first = lane / 16u * 16u;
    var sum = shares[first];
    for (var i = 1u; i < 16u; i++) { sum += shares[first + i]; }
    return sum;
}

fn row_max(share: f32, lane: u32) -> f32 {
    workgroupBarrier();
    shares[lane] = share;
    workgroupBarrier();
    let first = lane / 16u * 16u;
    var most = shares[first];
    for (var i = 1u; i < 16u; i++) { most = max(most, shares[first + i]); }
    return most;
}
