"""The subsets of TensorFlow's messages that are read from files and answers have the originals' names, numbers and types."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor as descriptors

from tfmodel_serving.protos import answers_pb2
from tfmodel_serving.protos import saved_model_pb2 as ours

RENAMED = {
    "NodeHead": ["NodeDef"],
    "ExamplesRequest": ["ClassificationRequest", "RegressionRequest"],
    "AnyList": ["CollectionDef.AnyList"],
    "MetaInfoDef": ["MetaGraphDef.MetaInfoDef"],
    "Dim": ["TensorShapeProto.Dim"],
}


@pytest.fixture(scope="module")
def originals():
    """By name, without package."""
    from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2
    from tensorflow_serving.apis import prediction_log_pb2

    found = {}

    def collect(message):
        name = message.full_name.removeprefix("tensorflow.").removeprefix("serving.")
        if name not in found:
            found[name] = message
            for field in message.fields:
                if field.message_type is not None:
                    collect(field.message_type)

    roots = [saved_model_pb2.SavedModel, prediction_log_pb2.PredictionLog]
    for root in [*roots, tensor_bundle_pb2.BundleHeaderProto, tensor_bundle_pb2.BundleEntryProto]:
        collect(root.DESCRIPTOR)
    return found


def messages(found):
    for message in found:
        if not message.GetOptions().map_entry:
            yield message
        yield from messages(message.nested_types)


OURS = [message for module in (ours, answers_pb2) for message in messages(module.DESCRIPTOR.message_types_by_name.values())]


@pytest.mark.parametrize("message", OURS, ids=lambda message: message.full_name)
def test_every_field_is_the_originals(message, originals):
    for name in RENAMED.get(message.name, [message.name]):
        original = originals[name]
        for field in message.fields:
            other = original.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), field.full_name
            if field.type == descriptors.FieldDescriptor.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
                kinds = [(inner.number, inner.type) for inner in field.message_type.fields]
                assert kinds == [(inner.number, inner.type) for inner in other.message_type.fields]


def test_all_data_types_are_known():
    from tensorflow.core.framework import types_pb2

    assert dict(ours.DataType.items()) == dict(types_pb2.DataType.items())
