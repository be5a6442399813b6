"""Writes test/formats/fixtures: state dicts as torch.save writes them, and what they hold as safetensors.

Run with PyTorch and safetensors installed: python test/formats/make_fixtures.py
"""
import os
import pickle
from collections import OrderedDict

import torch
from safetensors.torch import save_file
from torch.serialization import set_crc32_options

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")
os.makedirs(folder, exist_ok=True)
path = lambda name: os.path.join(folder, name)

torch.manual_seed(0)
base = torch.randn(6, 5)
state = OrderedDict(
    plain=torch.randn(3, 4),
    transposed=torch.randn(4, 3).t(),
    shared=base,
    slice=base[1:4, 2:],  # a storage offset, strides and the storage of `shared`
    columns=base[:, ::2],
    permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
    expanded=torch.tensor([1.5]).expand(4),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    half=torch.randn(5).half(),
    half_t=torch.randn(3, 2).half().t(),
    bfloat=torch.randn(5).bfloat16(),
    double=torch.randn(2, 2, dtype=torch.float64),
    double_t=torch.randn(2, 3, dtype=torch.float64).t(),
    long=torch.arange(4),
    int=torch.arange(3, dtype=torch.int32),
    bool=torch.tensor([True, False, True]),
    byte=torch.arange(4, dtype=torch.uint8),
    parameter=torch.nn.Parameter(torch.randn(2)),
)
state._metadata = OrderedDict({"": {"version": 1}})
torch.save(state, path("state.bin"))
torch.save(state, path("legacy.bin"), _use_new_zipfile_serialization=False)
set_crc32_options(False)
torch.save(state, path("no-checksums.bin"))
set_crc32_options(True)
save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, path("state.safetensors"))

torch.save({"state_dict": {"a": torch.ones(1)}, "epoch": 3}, path("wrapped.bin"))
torch.save({"a": torch.ones(2), "epoch": 3, "note": "x", "none": None}, path("values.bin"))
torch.save({"a": torch.ones(2)}, path("protocol-4.bin"), pickle_protocol=4)
torch.save([torch.ones(2)], path("list.bin"))
torch.save(torch.nn.Linear(1, 1), path("module.bin"))
torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, path("complex.bin"))
torch.save({"a": torch.zeros(2, dtype=torch.uint16)}, path("untyped.bin"))
