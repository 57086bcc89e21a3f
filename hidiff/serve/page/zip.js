// zip packs files [{name, blob}] into one archive, as they are: photos are compressed already.

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// record writes numbers of [bytes, value] in little-endian order.
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true); else view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

// distinct gives equal names numbers, and takes what could be a folder from them.
export function distinct(names) {
  const taken = new Set();
  return names.map((name) => {
    const plain = name.replace(/[\/\\:]/g, "_");
    const dot = plain.lastIndexOf(".");
    let next = plain;
    for (let n = 2; taken.has(next.toLowerCase()); n++) next = `${plain.slice(0, dot)} (${n})${plain.slice(dot)}`;
    taken.add(next.toLowerCase());
    return next;
  });
}

export async function zip(files) {
  const now = new Date();
  const time = now.getHours() << 11 | now.getMinutes() << 5 | now.getSeconds() >> 1;
  const date = now.getFullYear() - 1980 << 9 | now.getMonth() + 1 << 5 | now.getDate();
  const names = distinct(files.map((file) => file.name));
  const parts = [], directory = [];
  let at = 0, size = 0;
  for (const [i, { blob }] of files.entries()) {
    const name = new TextEncoder().encode(names[i]);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    const common = [[2, 20], [2, 0x800], [2, 0], [2, time], [2, date], [4, crc], [4, blob.size], [4, blob.size], [2, name.length], [2, 0]];
    parts.push(record([4, 0x04034b50], ...common), name, blob);
    directory.push(record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), name);
    at += 30 + name.length + blob.size;
    size += 46 + name.length;
    if (at + size > 0xffffffff) throw new Error("the photos are too large for one zip: download them one by one");
  }
  return new Blob([...parts, ...directory, record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0])], { type: "application/zip" });
}
