package options_test

import (
	"fmt"

	"hidiff/hidiff/options"
)

func ExampleLoad() {
	o, err := options.Load("GoPro_S1", []options.Setting{{Option: "train:total_iter=250000"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	schedule, err := o.Train.NewScheduler()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, phase := o.Dataset("train").PhaseAt(50_000)
	fmt.Printf("%d iterations of %s\n", o.Train.TotalIter, o.Train.OptimTotal.Type)
	fmt.Printf("iteration 50,000: %d crops of %d pixels, learning rate %.0e\n", phase.MiniBatchSize, phase.GTSize, schedule.LR(50_000))
	// Output:
	// 250000 iterations of AdamW
	// iteration 50,000: 8 crops of 192 pixels, learning rate 2e-04
}
