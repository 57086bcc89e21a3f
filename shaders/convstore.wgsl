// convstore: how a 3x3 convolution stores its result, imported by other shaders.

alias ConvStore = u32;
const PLAIN: ConvStore = 0;
const SHUFFLED: ConvStore = 1;    // through a pixel shuffle by 2
const UNSHUFFLED: ConvStore = 2;  // through a pixel unshuffle by 2
