"""The model server's command line: what it must never lack, what follows from what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.modelserver import flags as modelserver
from tests.unit.operator.makers import tfmodel
from tfmodel_operator.plan import flags


def made(**server):
    """The flags as the model server understands them."""
    parsed = modelserver.parse(flags.flags(tfmodel(server=server)))
    assert parsed.unknown is None
    assert parsed.bad_value is None
    return parsed.flags


def test_every_flag_is_one_token_with_its_value():
    everything = {
        "accelerator": {"memoryFraction": "0.5"},
        "batching": {"maxBatchSize": 8},
        "resources": {"limits": {"cpu": 4}},
        "extraArgs": ["--xla_gpu_compilation_enabled=true"],
    }
    for argument in flags.flags(tfmodel(server=everything, warmup={"policy": "Ignore"})):
        flag, equals, value = argument.partition("=")
        assert (flag[:2], equals) == ("--", "=")
        assert value


def test_what_keeps_the_server_from_harm():
    seen = made()
    assert seen.max_num_load_retries == 0
    assert (seen.num_load_threads, seen.num_unload_threads) == (8, 4)
    assert seen.allow_version_labels_for_unavailable_models
    assert not seen.enable_profiler
    assert seen.file_system_poll_wait_seconds == 1
    assert seen.rest_api_num_threads >= 2
    assert seen.grpc_max_threads >= 64
    assert not seen.enable_batching
    assert seen.per_process_gpu_memory_fraction == 0


@pytest.mark.parametrize(
    ("server", "threads"),
    [
        ({}, 64),
        ({"resources": {"limits": {"cpu": "32"}}}, 128),
        ({"batching": {"maxBatchSize": 128}}, 256),
        ({"batching": {"maxBatchSize": 4}}, 64),
        ({"batching": {"maxBatchSize": 5000}}, 1024),
    ],
)
def test_threads_let_batches_fill(server, threads):
    seen = made(**server)
    assert (seen.rest_api_num_threads, seen.grpc_max_threads) == (threads, threads)


@pytest.mark.parametrize(
    ("server", "intra", "inter"),
    [
        pytest.param({}, 0, 0, id="no limit: TensorFlow counts"),
        pytest.param({"resources": {"requests": {"cpu": 2}}}, 0, 0, id="a request is no limit"),
        pytest.param({"resources": {"limits": {"cpu": "1500m"}}}, 2, 2, id="limit, rounded up"),
        pytest.param({"resources": {"limits": {"cpu": 8}}, "parallelism": {"interOp": 1}}, 8, 1, id="one given"),
        pytest.param({"parallelism": {"intraOp": 3, "interOp": 2}}, 3, 2, id="both given"),
    ],
)
def test_parallelism_follows_the_cpu_limit(server, intra, inter):
    seen = made(**server)
    assert (seen.tensorflow_intra_op_parallelism, seen.tensorflow_inter_op_parallelism) == (intra, inter)


@given(st.integers(2, 3600))
def test_grpc_clients_leave_within_a_drain(drain):
    assert flags.connection_age_seconds(tfmodel(server={"drainSeconds": drain}).server) * 1.1 <= drain


@pytest.mark.parametrize(
    ("image", "health"),
    [
        ("tensorflow/serving:2.19.1", True),
        ("tensorflow/serving:2.15.0-gpu", True),
        ("tensorflow/serving:2.14.1", False),
        ("tensorflow/serving:latest", False),
        (f"tensorflow/serving@sha256:{'0' * 64}", False),
    ],
)
def test_the_health_service_is_asked_for_where_it_is_known_to_exist(image, health):
    assert made(image=image).enable_grpc_healthcheck_service is health


def test_ignored_warmup_is_not_replayed():
    assert not modelserver.parse(flags.flags(tfmodel(warmup={"policy": "Ignore"}))).flags.enable_model_warmup
    assert made().enable_model_warmup


def test_extra_args_come_in_one_order():
    given = ["--num_tflite_pools=2", "--mixed_precision=bfloat16"]
    assert flags.flags(tfmodel(server={"extraArgs": given})) == flags.flags(tfmodel(server={"extraArgs": given[::-1]}))


def test_a_dollar_is_no_variable():
    assert flags._escaped("--a=$(HOME)$$") == "--a=$$(HOME)$$$$"
