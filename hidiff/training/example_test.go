package training_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"hidiff/hidiff/options"
	"hidiff/hidiff/photo"
	"hidiff/hidiff/training"
	"hidiff/tensor"
	"hidiff/trainer"
	"hidiff/wgpu"
)

// optionFile is of networks much smaller than the released ones.
const optionFile = `
name: example
model_type: HI_Diff_S1
datasets:
  train:
    type: PairedImageIRDataset
    dataroot_lq: %[1]q
    dataroot_gt: %[2]q
    batch_size_per_gpu: 2
    gt_size: 32
network_g: {type: Transformer, dim: 8, num_blocks: [1, 1, 1, 1], num_refinement_blocks: 1, embed_dim: 16}
network_le: {type: latent_encoder_gelu, in_chans: 6, embed_dim: 16, block_num: 1, stage: 1, group: 4, patch_expansion: 0.5, channel_expansion: 4}
train:
  total_iter: 2
  optim_total: {type: AdamW, lr: 0.0002}
  pixel_opt: {type: L1Loss}
logger: {print_freq: 1}
`

// Makes photos and an option file in a new folder, and two iterations of stage one.
func Example() {
	folder, err := os.MkdirTemp("", "hidiff-train")
	if err != nil {
		log.Fatal(err)
	}
	if err := train(context.Background(), folder, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func train(ctx context.Context, folder string, screen io.Writer) error {
	blurry, sharp := filepath.Join(folder, "blurry"), filepath.Join(folder, "sharp")
	if err := makePairs(blurry, sharp); err != nil {
		return err
	}
	file := filepath.Join(folder, "options.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, optionFile, blurry, sharp), 0o666); err != nil {
		return err
	}

	o, err := options.Load(file, nil)
	if err != nil {
		return err
	}
	t, err := training.New(trainer.RunOptions{Options: o, Root: folder, Screen: screen})
	if err != nil {
		return err
	}
	device, err := tensor.Open(wgpu.Options{})
	if err != nil {
		return err
	}
	defer device.Close()
	return t.Run(ctx, device)
}

// makePairs makes photos of stripes, sharp and smeared.
func makePairs(blurry, sharp string) error {
	for i := range 4 {
		for folder, width := range map[string]int{sharp: 1, blurry: 9} {
			p := &photo.Photo{Width: 48, Height: 48, Channels: 3, Max: 255, Pix: make([]uint16, 48*48*3)}
			for k := range p.Pix {
				for shift := range width {
					p.Pix[k] += uint16(255 * ((k/3%48 + shift) / (i + 3) % 2) / width)
				}
			}
			if err := os.MkdirAll(folder, 0o777); err != nil {
				return err
			}
			if err := photo.Save(filepath.Join(folder, fmt.Sprintf("%d.png", i)), p, photo.EncodeOptions{}); err != nil {
				return err
			}
		}
	}
	return nil
}
