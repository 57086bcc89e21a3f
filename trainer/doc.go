// Package trainer trains image restoration networks as BasicSR does: its option files,
// paired photos, progressive learning, learning-rate schedules, checkpoints and logs.
//
// It knows no network: what it trains hands over parameters and a loss. [Load] reads the
// option files that were released with HI-Diff, or one of the presets named after them.
package trainer
