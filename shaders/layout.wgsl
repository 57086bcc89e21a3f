// layout: how work is spread over workgroups and which stored channels are
//         padding, imported by other shaders.

// number returns which workgroup this is. Groups past 32,768 go to the second
// axis, because one axis ends at 65,535 (spread in tensor/launch.go).
fn number(group: vec3u) -> u32 { return group.y * 32768u + group.x; }

// used says which of the four channels at c4, counted in vec4 from the start
// of a part with that many channels, are not padding.
fn used(c4: u32, channels: u32) -> vec4<bool> {
    return vec4u(4u * c4) + vec4u(0u, 1u, 2u, 3u) < vec4u(channels);
}
