package ref

import (
	"fmt"
	"slices"
	"strings"
)

// Params are a module's parameters, by their keys in its state_dict. The methods
// compute what the released code's module of that name does; biases are used where
// there are any.
type Params map[string]*Array

// Under returns the parameters whose keys begin with prefix, by the rest of their keys.
func (p Params) Under(prefix string) Params {
	out := Params{}
	for key, a := range p {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			out[rest] = a
		}
	}
	return out
}

func (p Params) get(key string) *Array {
	if p[key] == nil {
		panic(&Error{"network", key, "missing", "a parameter of that name"})
	}
	return p[key]
}

func (p Params) linear(name string, x *Array) *Array {
	return Linear(x, p.get(name+".weight"), p[name+".bias"])
}

func (p Params) conv1x1(name string, x *Array) *Array {
	return Conv1x1(x, p.get(name+".weight"), p[name+".bias"])
}

func (p Params) conv3x3(name string, x *Array) *Array {
	return Conv3x3(x, p.get(name+".weight"), p[name+".bias"])
}

func (p Params) dwconv3x3(name string, x *Array) *Array {
	return DWConv3x3(x, p.get(name+".weight"), p[name+".bias"])
}

// eps of every LayerNorm.
const eps = 1e-5

// LayerNorm normalises the channels of x [B,C,H,W]; without a bias it is the BiasFree
// kind, which does not subtract the mean.
func (p Params) LayerNorm(name string, x *Array) *Array {
	w, b := p.get(name+".weight"), p[name+".bias"]
	if b == nil {
		return LayerNormChannelBiasFree(x, w, eps)
	}
	return LayerNormChannel(x, w, b, eps)
}

// modulate returns x·ln1(prior) + ln2(prior) per channel, or x if there is no prior:
// [B,4e], or [B,1,4e].
func (p Params) modulate(x, prior *Array) *Array {
	if prior == nil {
		return x
	}
	z := prior.Reshape(x.Shape[0], len(prior.Data)/x.Shape[0])
	return ScaleShiftChannel(x, p.linear("ln1", z), p.linear("ln2", z))
}

// Attention is transposed attention (MDTA) of x [B,C,H,W]; prior may be nil.
func (p Params) Attention(x, prior *Array, heads int) *Array {
	c := x.Shape[1]
	qkv := p.dwconv3x3("qkv_dwconv", p.conv1x1("qkv", p.modulate(x, prior)))
	core := MDTA(channels(qkv, 0, c), channels(qkv, c, 2*c), channels(qkv, 2*c, 3*c), p.get("temperature"), heads)
	return p.conv1x1("project_out", core)
}

// FeedForward is the gated feed-forward network (GDFN) of x [B,C,H,W]; prior may be nil.
func (p Params) FeedForward(x, prior *Array) *Array {
	return p.conv1x1("project_out", GELUGate(p.dwconv3x3("dwconv", p.conv1x1("project_in", p.modulate(x, prior)))))
}

// TransformerBlock is attention, then feed-forward, each behind a LayerNorm and beside a
// residual; prior may be nil.
func (p Params) TransformerBlock(x, prior *Array, heads int) *Array {
	x = Add(x, p.Under("attn.").Attention(p.LayerNorm("norm1.body", x), prior, heads))
	return Add(x, p.Under("ffn.").FeedForward(p.LayerNorm("norm2.body", x), prior))
}

// HIM is the hierarchical integration module: the pixels of x [B,C,H,W] attend to the
// tokens of prior [B,N,4e].
func (p Params) HIM(x, prior *Array, heads int) *Array {
	b, c, h, w := image("him", "x", x)
	q := p.linear("q", tokens(p.LayerNorm("norm1.body", x)))
	n, e := prior.Shape[1], prior.Shape[2]
	z := tokens(p.LayerNorm("norm2.body", transpose(prior).Reshape(b, e, n, 1)))
	kv := transpose(p.linear("kv", z)).Reshape(b, 2*c, n, 1)
	k, v := tokens(channels(kv, 0, c)), tokens(channels(kv, c, 2*c))
	y := p.linear("proj", HIM(q, k, v, heads))
	return Add(x, transpose(y).Reshape(b, c, h, w))
}

// BasicLayer is a row of blocks. A group of more than one token guides it through a HIM
// in front, a single token through the modulation in every block.
func (p Params) BasicLayer(x, prior *Array, heads, blocks, group int) *Array {
	if group > 1 {
		x, prior = p.Under("him.").HIM(x, prior, heads), nil
	}
	for i := range blocks {
		x = p.Under(fmt.Sprintf("blocks.%d.", i)).TransformerBlock(x, prior, heads)
	}
	return x
}

// Downsample halves height and width and doubles the channels of x [B,C,H,W].
func (p Params) Downsample(x *Array) *Array { return PixelUnshuffle(p.conv3x3("body.0", x), 2) }

// Upsample doubles height and width and halves the channels of x [B,C,H,W].
func (p Params) Upsample(x *Array) *Array { return PixelShuffle(p.conv3x3("body.0", x), 2) }

// Transformer are the options of net_g that its parameters' shapes do not tell.
type Transformer struct {
	Blocks     [4]int
	Refinement int // blocks
	Heads      [4]int
	Group      int
	DualPixel  bool
}

// Transformer is net_g: it restores images x [B,3,H,W], H and W multiples of 8, under a
// prior z1 [B,group²,4e].
func (p Params) Transformer(o Transformer, x, z1 *Array) *Array {
	compress := func(name string, z *Array) *Array { // over the tokens, then over their values
		return p.linear(name+".3", transpose(p.linear(name+".1", transpose(z))))
	}
	z2 := compress("down_1", z1)
	z3 := compress("down_2", z2)

	layer := func(name string, level int, x *Array) *Array {
		prior, group := z1, o.Group
		switch level {
		case 1, 2:
			prior, group = z2, o.Group/2
		case 3:
			prior, group = z3, 1
		}
		return p.Under(name+".").BasicLayer(x, prior, o.Heads[level], o.Blocks[level], group)
	}
	down := func(name string, x *Array) *Array { return p.Under(name + ".").Downsample(x) }
	up := func(name string, x *Array) *Array { return p.Under(name + ".").Upsample(x) }

	embedded := p.conv3x3("patch_embed.proj", x)
	enc1 := layer("encoder_level1", 0, embedded)
	enc2 := layer("encoder_level2", 1, down("down1_2", enc1))
	enc3 := layer("encoder_level3", 2, down("down2_3", enc2))
	y := layer("latent", 3, down("down3_4", enc3))
	y = p.conv1x1("reduce_chan_level3", ConcatChannel(up("up4_3", y), enc3))
	y = layer("decoder_level3", 2, y)
	y = p.conv1x1("reduce_chan_level2", ConcatChannel(up("up3_2", y), enc2))
	y = layer("decoder_level2", 1, y)
	y = layer("decoder_level1", 0, ConcatChannel(up("up2_1", y), enc1))
	y = p.Under("refinement.").BasicLayer(y, z1, o.Heads[0], o.Refinement, o.Group)
	if o.DualPixel {
		return p.conv3x3("output", Add(y, p.conv1x1("skip_conv", embedded)))
	}
	return Add(p.conv3x3("output", y), x)
}

// channels returns channels from to to of x [B,C,H,W].
func channels(x *Array, from, to int) *Array {
	b, c, h, w := image("channels", "x", x)
	out := make([]float64, 0, b*(to-from)*h*w)
	for i := range b {
		out = append(out, x.Data[(i*c+from)*h*w:(i*c+to)*h*w]...)
	}
	return &Array{[]int{b, to - from, h, w}, out}
}

// transpose exchanges the last two axes of [B,P,Q].
func transpose(x *Array) *Array {
	expect("transpose", "x", x, anySize, anySize, anySize)
	b, p, q := x.Shape[0], x.Shape[1], x.Shape[2]
	return swapMiddle(x.Reshape(b, p, q, 1)).Reshape(b, q, p)
}

// tokens turns an image [B,C,H,W] into its pixels [B,H·W,C].
func tokens(x *Array) *Array {
	b, c, h, w := image("tokens", "x", x)
	return transpose(x.Reshape(b, c, h*w))
}

// joinLast joins arrays, equal but for the last axis, along it.
func joinLast(xs ...*Array) *Array {
	rows, _ := xs[0].last()
	width := 0
	for _, x := range xs {
		width += x.Shape[len(x.Shape)-1]
	}
	shape := slices.Clone(xs[0].Shape)
	shape[len(shape)-1] = width
	out := &Array{shape, make([]float64, 0, rows*width)}
	for r := range rows {
		for _, x := range xs {
			_, n := x.last()
			out.Data = append(out.Data, x.Data[r*n:(r+1)*n]...)
		}
	}
	return out
}
