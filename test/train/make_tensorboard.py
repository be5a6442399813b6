"""Writes tensorboard.events: the events of tensorboard.test.ts as TensorBoard's own messages and checksums (pip install tensorboard 2.21)."""

import os
import struct

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData


def text(tag, value):
    """As torch/utils/tensorboard/summary.py, text, of PyTorch 2.13."""
    content = TextPluginData(version=0).SerializeToString()
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text", content=content))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype="DT_STRING", string_val=[value.encode("utf_8")], tensor_shape=shape)
    return Summary(value=[Summary.Value(tag=tag + "/text_summary", metadata=metadata, tensor=tensor)])


def scalars(values):
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


events = [
    Event(wall_time=1700000001.0, file_version="brain.Event:2"),
    Event(wall_time=1700000002.0, summary=text("args", '{\n  "learningRate": 5e-5\n}')),
    Event(wall_time=1700000003.0, step=300, summary=text("model_config", "größe 384 \U0001f917 " + "x" * 200)),
    Event(wall_time=1700000004.5, step=1, summary=scalars({"train/loss": 2.5, "train/learning_rate": 5e-5, "train/epoch": 0.25})),
    Event(
        wall_time=1700000004.0,
        step=2**40 + 129,
        summary=scalars({"eval/loss": float("nan"), "eval/f1_macro": float("inf"), "test/loss": float("-inf"), "train/eval": 0.0}),
    ),
]
with open(os.path.join(os.path.dirname(__file__), "tensorboard.events"), "wb") as file:
    for event in events:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        file.write(length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data)))
