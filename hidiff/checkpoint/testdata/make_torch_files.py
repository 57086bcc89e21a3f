"""Writes the torch_*.pth files of this folder. Run here with PyTorch 1.13."""
from collections import Counter, OrderedDict, defaultdict

import torch

values = {
    "none": None, "bools": [True, False], "float": -1.5, "text": "grüße 🙂", "empty": [[], (), {}],
    "ints": [0, 255, 256, 65535, 65536, -1, 2**31 - 1, -(2**31), 2**31, -(2**40), 2**63 - 1, -(2**63)],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, (2, (3, 4, "x")))],
    "size": torch.Size([2, 3]), 7: "seven", -1: {2.5: "two and a half", True: "yes", None: "no"},
    "counter": Counter({500: 1, 900: 2}), "defaultdict": defaultdict(list, a=[1]),
    "ordered": OrderedDict([("b", 1), ("a", torch.ones(1))]), "no tensors": OrderedDict(),
}
shared = [1, 2]
values["shared"] = [shared, shared, [shared]]
torch.save(values, "torch_values.pth")

r = torch.arange(-2, 4)
base = torch.arange(24, dtype=torch.float32)
tensors = {
    "f16": r.half() / 3, "bf16": r.bfloat16() / 3, "f32": r.float() / 3, "f64": r.double() / 3,
    "i8": r.to(torch.int8), "i16": r.short(), "i32": r.int(), "i64": r * 2**40, "u8": (r + 2).byte(), "bool": r > 0,
    "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.ones(2)),
    "whole": base, "tail": base[20:], "transposed": base.view(2, 3, 4).permute(2, 0, 1), "every third": base[1::3],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 3),
}
torch.save(tensors, "torch_tensors.pth")
torch.save(tensors, "torch_tensors_legacy.pth", _use_new_zipfile_serialization=False)

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
torch.save(model.state_dict(), "torch_model.pth")

optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [500, 900, 900])
for _ in range(2):
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    scheduler.step()
state = {"epoch": 1, "iter": 2, "optimizers": [optimizer.state_dict()], "schedulers": [scheduler.state_dict()]}
torch.save(state, "torch_2.state")
