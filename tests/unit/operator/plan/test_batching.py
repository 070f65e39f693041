"""Batching parameters, as the model server reads them."""

from __future__ import annotations

from google.protobuf import text_format

from tests.modelserver.protos import BatchingParameters
from tests.unit.operator.makers import planned
from tfmodel_operator.api import labels
from tfmodel_serving import agent_config


def pod(**batching):
    return planned(server={"batching": batching}).deployment["spec"]["template"]


def parameters(template):
    return text_format.Parse(template["metadata"]["annotations"][labels.BATCHING], BatchingParameters())


def test_the_server_reads_what_was_asked_for():
    read = parameters(
        pod(
            maxBatchSize=32,
            batchTimeoutMicros=0,
            allowedBatchSizes=[1, 32],
            numBatchThreads=4,
            maxEnqueuedBatches=7,
            padVariableLengthInputs=True,
        )
    )
    assert read.max_batch_size.value == 32
    assert read.HasField("batch_timeout_micros")
    assert read.batch_timeout_micros.value == 0
    assert list(read.allowed_batch_sizes) == [1, 32]
    assert read.num_batch_threads.value == 4
    assert read.max_enqueued_batches.value == 7
    assert read.pad_variable_length_inputs


def test_batch_threads_follow_the_cpu_limit():
    assert not parameters(pod(maxBatchSize=32)).HasField("num_batch_threads")
    limited = planned(server={"batching": {"maxBatchSize": 32}, "resources": {"limits": {"cpu": "2500m"}}})
    assert parameters(limited.deployment["spec"]["template"]).num_batch_threads.value == 3


def test_the_file_is_of_the_pod_and_not_of_the_configmap():
    template = pod(maxBatchSize=32)
    (container,) = template["spec"]["containers"]
    (volume,) = [v for v in template["spec"]["volumes"] if "downwardAPI" in v]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    (item,) = volume["downwardAPI"]["items"]
    assert f"--batching_parameters_file={mount['mountPath']}/{item['path']}" in container["args"]
    assert "--enable_batching=true" in container["args"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{labels.BATCHING}']"


def test_agents_know_the_largest_batch():
    plan = planned(server={"batching": {"maxBatchSize": 32}})
    assert agent_config.from_json(plan.objects[0]["data"]["agent.json"])["half"].max_batch_size == 32
    assert agent_config.from_json(planned().objects[0]["data"]["agent.json"])["half"].max_batch_size == 0
