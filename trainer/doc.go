// Package trainer trains image restoration networks as BasicSR does: paired photos, progressive
// learning, learning-rate schedules, validation, checkpoints and logs.
//
// It knows no network. What it trains, a [Model], hands over parameters and a loss; networks' names
// are the first part of parameters' names, and what option files say of networks is kept unread.
package trainer
