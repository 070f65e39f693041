"""The command line of `tensorflow_model_server`.

Always `--flag=value`: the server drops the value of `--flag value` in silence, as it drops flags it doesn't know.

Source: tensorflow/serving, model_servers/main.cc.
"""

from __future__ import annotations

from tfmodel_operator.api import images, labels, server_spec, spec
from tfmodel_operator.plan import configmap

BOOT = "/etc/tfmodel-boot"
"""Where the files are that belong to the template, not to the ConfigMap."""
BATCHING = "batching.config"
MIN_THREADS, MAX_THREADS = 64, 1024
"""Each request blocks a thread. The server's own default, 4 for each CPU of the node, starves small nodes; beyond the maximum
threads cost more than they bring. A load needs about 300 more for a moment: limits of processes must leave room."""
HEALTH_SERVICE_SINCE = (2, 15)


def flags(model: spec.Host) -> list[str]:
    """Return the model server's flags for ``model``, in an order that does not change."""
    server = model.server
    return [
        _flag(name, value)
        for name, value in {
            **_endpoints(server),
            **_files(server),
            **_loading(server),
            **_compute(server),
            **_optional(model),
        }.items()
    ] + [_escaped(argument) for argument in sorted(server.extra_args)]


def threads(server: server_spec.Server) -> int:
    """Return how many requests of each API may be in progress: twice a batch at least, or batches never fill."""
    batch = server.batching.max_batch_size if server.batching else 0
    return min(MAX_THREADS, max(MIN_THREADS, 4 * server.cpus, 2 * batch))


def connection_age_seconds(server: server_spec.Server) -> int:
    """Return how often gRPC clients connect anew: gRPC adds up to a tenth, and within a drain all must have left."""
    if server.max_connection_age_seconds is not None:
        return server.max_connection_age_seconds
    return max(1, server.drain_seconds * 3 // 4)


def _endpoints(server: server_spec.Server) -> dict[str, object]:
    return {
        "port": labels.GRPC_PORT,
        "rest_api_port": labels.REST_PORT,
        "rest_api_num_threads": threads(server),
        "rest_api_timeout_in_ms": server.rest_timeout_millis,
        "grpc_max_threads": threads(server),
        "grpc_channel_arguments": f"grpc.max_connection_age_ms={connection_age_seconds(server) * 1000}",
        # Unauthenticated, and on the port clients use.
        "enable_profiler": server.profiler is server_spec.Switch.ENABLED,
    }


def _files(server: server_spec.Server) -> dict[str, object]:
    found: dict[str, object] = {
        "model_config_file": f"{configmap.MOUNT}/boot.config",
        "monitoring_config_file": f"{configmap.MOUNT}/monitoring.config",
    }
    if server.batching is not None:  # the file alone would be fatal
        found |= {"enable_batching": True, "batching_parameters_file": f"{BOOT}/{BATCHING}"}
    return found


def _loading(server: server_spec.Server) -> dict[str, object]:
    loading = server.loading
    return {
        "file_system_poll_wait_seconds": 1,
        "num_load_threads": loading.load_threads,  # a load that hangs or retries sleeps on its thread
        "num_unload_threads": loading.unload_threads,
        "max_num_load_retries": loading.max_retries,
        "load_retry_interval_micros": loading.retry_interval_seconds * 1_000_000,
        "allow_version_labels_for_unavailable_models": True,  # else a label in the first config stops every load
    }


def _compute(server: server_spec.Server) -> dict[str, object]:
    """Return what TensorFlow can't see by itself: it counts CPUs of the node, not of the limit."""
    found: dict[str, object] = {}
    if server.parallelism.intra_op:
        found["tensorflow_intra_op_parallelism"] = server.parallelism.intra_op
    if server.parallelism.inter_op:
        found["tensorflow_inter_op_parallelism"] = server.parallelism.inter_op
    if server.accelerator is not None and server.accelerator.memory_fraction:
        found["per_process_gpu_memory_fraction"] = server.accelerator.memory_fraction
    return found


def _optional(model: spec.Host) -> dict[str, object]:
    found: dict[str, object] = {}
    version = images.version(model.server.image)
    if version is not None and version >= HEALTH_SERVICE_SINCE:
        found["enable_grpc_healthcheck_service"] = True
    if not model.uses_warmup:
        found["enable_model_warmup"] = False
    return found


def _flag(name: str, value: object) -> str:
    return _escaped(f"--{name}={str(value).lower() if isinstance(value, bool) else value}")


def _escaped(argument: str) -> str:
    """Return an argument that the kubelet passes on as it is: it would replace `$(NAME)` by a variable."""
    return argument.replace("$", "$$")
