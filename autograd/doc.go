// Package autograd records the operators of package tensor on a tape, and goes
// back through them for the gradients of what is trained.
//
// Each function here computes what the operator of that name in package tensor
// does. On variables without a tape nothing is recorded, so that the same
// network serves training and inference:
//
//	tape := &autograd.Tape{}
//	x := tape.Input(photo)                        // its gradient is not wanted
//	y := autograd.Linear(layer, x, autograd.After{Act: tensor.GELU})
//	loss := autograd.Loss(tensor.Loss{Type: tensor.L1Loss, Weight: 1}, y, tape.Input(sharp))
//	tape.Backward(1, loss)                        // adds to the gradients of layer's parameters
//
// Gradients of parameters add up until [tensor.Parameters.ZeroGrad]. Parameters
// without a Grad are frozen: what lies before them alone is neither recorded nor
// kept. Operators that are fused forward are fused backward, and recompute
// inside what would be large to keep. Misuse and failures panic as in package
// tensor; recover with [tensor.Catch], and call [Tape.Reset].
package autograd
