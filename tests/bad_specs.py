"""Specs that are wrong, each with what a user must be told. Used with and without an API server.

A row is a name, the spec beside a good source, what the API server says at admission, and whether the code refuses it as well:
that matters for what an older schema may have let in. Rows with ``says`` None pass admission; ``condition`` is what the
TFModel then says.
"""

from __future__ import annotations

import dataclasses
from typing import Any

CLAIM = {"claimName": "models", "path": "half"}


@dataclasses.dataclass(frozen=True)
class BadSpec:
    """One mistake."""

    id: str
    spec: dict[str, Any]
    says: str
    name: str = "half"
    in_code: bool = False

    def __str__(self) -> str:
        return self.id


def claim(**given: Any) -> dict[str, Any]:
    return {"source": {"persistentVolumeClaim": {"claimName": "models", **given}}}


def server(**given: Any) -> dict[str, Any]:
    return {"server": given}


def accelerator(**given: Any) -> dict[str, Any]:
    return server(accelerator=given)


def batching(**given: Any) -> dict[str, Any]:
    return server(batching={"maxBatchSize": 32, **given})


def pod(**given: Any) -> dict[str, Any]:
    return server(pod=given)


def labelled(labels: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"versionLabels": labels, **given}


REFUSED = (
    # The object as a whole
    BadSpec("unknown field", {"colour": "red"}, 'unknown field "spec.colour"'),
    BadSpec("misspelt field", server(replica=2), 'unknown field "spec.server.replica"'),
    BadSpec("name that no Service can have", {}, "starting with a letter", name="1half", in_code=True),
    BadSpec("name with a dot", {}, "lower case letters, digits and '-'", name="half.model", in_code=True),
    BadSpec("long name", {}, "at most 52", name="h" * 53, in_code=True),
    BadSpec("name of another's Service", {}, "NAME-headless is the second Service", name="half-headless"),
    BadSpec("name that is no model name", {}, "'--' marks names of our own", name="a--b", in_code=True),
    BadSpec("model name that breaks URLs", {"modelName": "a/b"}, "spec.modelName", in_code=True),
    BadSpec("model name of our own kind", {"modelName": "a--candidate"}, "must not contain '--'", in_code=True),
    BadSpec("empty model name", {"modelName": ""}, "spec.modelName", in_code=True),
    BadSpec("long model name", {"modelName": "m" * 64}, "spec.modelName", in_code=True),
    # source
    BadSpec("no source", {"source": {}}, "say where the model is: give source.persistentVolumeClaim", in_code=True),
    BadSpec("two sources", {"source": {"persistentVolumeClaim": CLAIM, "image": {"reference": "a"}}}, 'unknown field "spec.source.image"'),
    BadSpec("path with ..", claim(path="a/../b"), "write it without '..'", in_code=True),
    BadSpec("absolute path", claim(path="/a"), "leave out the leading '/'", in_code=True),
    BadSpec("path with a newline", claim(path="a\nb"), "path may hold letters", in_code=True),
    BadSpec("path with a variable", claim(path="$(HOME)"), "path may hold letters", in_code=True),
    BadSpec("bad claim name", claim(claimName="Models"), "spec.source.persistentVolumeClaim.claimName"),
    BadSpec("no claim name", {"source": {"persistentVolumeClaim": {"path": "a"}}}, "claimName: Required value", in_code=True),
    # versions
    BadSpec("two policies", {"versionPolicy": {"latest": {}, "all": {}}}, "choose exactly one of latest, all and specific", in_code=True),
    BadSpec("no policy", {"versionPolicy": {}}, "choose exactly one of latest, all and specific", in_code=True),
    BadSpec("no versions", {"versionPolicy": {"specific": {"versions": []}}}, "spec.versionPolicy.specific.versions", in_code=True),
    BadSpec("version 0", {"versionPolicy": {"specific": {"versions": [0]}}}, "greater than or equal to 1", in_code=True),
    BadSpec("version as text", {"versionPolicy": {"specific": {"versions": ["3"]}}}, "must be of type integer", in_code=True),
    BadSpec("a version twice", {"versionPolicy": {"specific": {"versions": [3, 3]}}}, "Duplicate value"),
    BadSpec("no latest versions", {"versionPolicy": {"latest": {"numVersions": 0}}}, "greater than or equal to 1", in_code=True),
    BadSpec("label with a slash", labelled({"a/b": 1}), "a label may hold letters, digits and . _ -", in_code=True),
    BadSpec("empty label", labelled({"": 1}), "a label may hold letters, digits and . _ -", in_code=True),
    BadSpec("label of version 0", labelled({"stable": 0}), "greater than or equal to 1", in_code=True),
    BadSpec(
        "label of an unlisted version",
        labelled({"stable": 2}, versionPolicy={"specific": {"versions": [3]}}),
        "versionLabels names a version that versionPolicy.specific.versions lacks",
        in_code=True,
    ),
    BadSpec("too many labels", labelled({f"l{n}": 1 for n in range(17)}), "must have at most 16"),
    # sharing
    BadSpec("two kinds of servers", {"server": {}, "serverRef": {"name": "pool"}}, "give only one of server, serverRef and serverSelector", in_code=True),
    BadSpec("two ways to a shared server", {"serverSelector": {}, "serverRef": {"name": "pool"}}, "give only one of", in_code=True),
    BadSpec("server reference without a name", {"serverRef": {}}, "name: Required value", in_code=True),
    BadSpec("server name that can't be", {"serverRef": {"name": "Pool"}}, "spec.serverRef.name"),
    BadSpec("warm-up off for all", {"serverRef": {"name": "pool"}, "warmup": {"policy": "Ignore"}}, "would switch off the warm-up of all models", in_code=True),
    BadSpec("memory that nobody counts", {"memory": "1Gi"}, "memory counts only on a shared server", in_code=True),
    BadSpec("memory that is none", {"serverRef": {"name": "pool"}, "memory": "much"}, "spec.memory", in_code=True),
    # warmup
    BadSpec("unknown warm-up policy", {"warmup": {"policy": "Always"}}, 'supported values: "Required", "IfPresent", "Ignore"', in_code=True),
    BadSpec("records that nobody wants", {"warmup": {"minRecords": 3}}, "set policy to Required", in_code=True),
    BadSpec("more records than the server takes", {"warmup": {"policy": "Required", "minRecords": 1001}}, "less than or equal to 1000"),
    # rollout
    BadSpec("unknown strategy", {"rollout": {"strategy": "Canary"}}, 'supported values: "Auto", "InPlace"', in_code=True),
    BadSpec("approval of nobody", {"rollout": {"approval": "Never"}}, 'supported values: "Automatic", "Manual"', in_code=True),
    BadSpec("approved version 0", {"rollout": {"approvedVersion": 0}}, "greater than or equal to 1", in_code=True),
    BadSpec("paused in words", {"rollout": {"paused": "yes"}}, "must be of type boolean", in_code=True),
    BadSpec("no time to load", {"rollout": {"progressDeadlineSeconds": 0}}, "greater than or equal to 1", in_code=True),
    BadSpec("negative bake", {"rollout": {"bakeSeconds": -1}}, "greater than or equal to 0", in_code=True),
    BadSpec("unknown comparison", {"rollout": {"comparison": {"policy": "Always"}}}, 'supported values: "Disabled"', in_code=True),
    BadSpec("difference in percent", {"rollout": {"comparison": {"maxRelativeDifference": "1%"}}}, "maxRelativeDifference", in_code=True),
    BadSpec("unknown way back", {"rollout": {"onFailure": "Delete"}}, 'supported values: "RollBack", "Hold"', in_code=True),
    BadSpec(
        "comparison across pods",
        {"rollout": {"strategy": "RollingUpdate", "comparison": {"policy": "Require"}}},
        "choose strategy InPlace or Auto",
        in_code=True,
    ),
    # server
    BadSpec("image with a space", server(image="a b"), "must be an image reference", in_code=True),
    BadSpec("image with capitals", server(image="Models/Serving:1"), "must be an image reference in lower case", in_code=True),
    BadSpec("image that ends too early", server(image="a/"), "must be an image reference", in_code=True),
    BadSpec("image with a line", server(image="a\nb"), "must be an image reference", in_code=True),
    BadSpec("empty image", server(image=""), "spec.server.image"),
    BadSpec("negative replicas", server(replicas=-1), "greater than or equal to 0"),
    BadSpec("replicas as text", server(replicas="two"), "must be of type integer"),
    BadSpec("quantity that the API server hangs over", server(resources={"requests": {"memory": "1e-999999999"}}), "spec.server.resources.requests.memory", in_code=True),
    BadSpec("quantity of the agent beyond all numbers", server(agent={"resources": {"limits": {"cpu": "1e999999999"}}}), "spec.server.agent.resources.limits.cpu", in_code=True),
    BadSpec("no quantity", server(resources={"limits": {"cpu": "much"}}), "spec.server.resources.limits.cpu", in_code=True),
    BadSpec("unknown update strategy", server(updateStrategy="Canary"), 'supported values: "Auto"', in_code=True),
    BadSpec("no drain", server(drainSeconds=0), "greater than or equal to 2", in_code=False),
    BadSpec("drain shorter than connections live", server(drainSeconds=20, grpc={"maxConnectionAgeSeconds": 18}), "raise drainSeconds", in_code=True),
    BadSpec("REST without time", server(rest={"timeoutMillis": 0}), "greater than or equal to 1"),
    BadSpec("no load threads", server(loading={"loadThreads": 0}), "greater than or equal to 1"),
    BadSpec("endless retries", server(loading={"maxRetries": 100}), "less than or equal to 10"),
    BadSpec("no parallelism", server(parallelism={"intraOp": 0}), "greater than or equal to 1"),
    BadSpec("unknown profiler", server(profiler="On"), 'supported values: "Disabled", "Enabled"', in_code=True),
    # accelerator
    BadSpec("accelerator without domain", accelerator(resource="gpu"), "must have the form domain/name", in_code=True),
    BadSpec("accelerator of kubernetes.io", accelerator(resource="kubernetes.io/gpu"), "are no accelerators", in_code=True),
    BadSpec("no devices", accelerator(count=0), "greater than or equal to 1"),
    BadSpec("fraction of nothing", accelerator(memoryFraction="0.0"), "must be a decimal above 0 and up to 1", in_code=True),
    BadSpec("fraction above 1", accelerator(memoryFraction="1.5"), "must be a decimal above 0 and up to 1", in_code=True),
    BadSpec("fraction in percent", accelerator(memoryFraction="45%"), "must be a decimal above 0 and up to 1", in_code=True),
    BadSpec("fraction as a number", accelerator(memoryFraction=0.5), "must be of type string", in_code=True),
    BadSpec(
        "accelerator given twice",
        server(accelerator={}, resources={"limits": {"nvidia.com/gpu": 1}}),
        "the accelerator is in resources as well",
        in_code=True,
    ),
    # batching
    BadSpec("batching without a size", server(batching={}), "maxBatchSize: Required value", in_code=True),
    BadSpec("sizes that end elsewhere", batching(allowedBatchSizes=[1, 16]), "the last of allowedBatchSizes must be maxBatchSize", in_code=True),
    BadSpec("sizes in disorder", batching(allowedBatchSizes=[8, 1, 32]), "in rising order, each size once", in_code=True),
    BadSpec("a size twice", batching(allowedBatchSizes=[8, 8, 32]), "in rising order, each size once", in_code=True),
    BadSpec("no sizes", batching(allowedBatchSizes=[]), "at least 1 items", in_code=True),
    BadSpec("no batch threads", batching(numBatchThreads=0), "greater than or equal to 1"),
    # extraArgs
    BadSpec("flag and value apart", server(extraArgs=["--xla_gpu_compilation_enabled", "true"]), "as one item of the form --flag=value", in_code=True),
    BadSpec("flag of our own", server(extraArgs=["--port=9000"]), "is set by this operator from another field", in_code=True),
    BadSpec("flag that reads a file", server(extraArgs=["--ssl_config_file=/etc/passwd"]), "a flag that is not allowed", in_code=True),
    BadSpec("misspelt flag", server(extraArgs=["--mixed_precison=bfloat16"]), "a flag that is not allowed", in_code=True),
    BadSpec("flag with a value of another kind", server(extraArgs=["--prefer_tflite_model=yes"]), "must be true or false", in_code=True),
    BadSpec("flag with text for a number", server(extraArgs=["--num_tflite_pools=many"]), "must be a number from 1 to 99999", in_code=True),
    BadSpec("unknown precision", server(extraArgs=["--mixed_precision=float16"]), "can only be bfloat16", in_code=True),
    BadSpec(
        "flag given twice",
        server(extraArgs=["--num_tflite_pools=1", "--num_tflite_pools=2"]),
        "give each flag once",
        in_code=True,
    ),
    BadSpec("flag with a variable", server(extraArgs=["--num_tflite_pools=$(N)"]), "must be a number", in_code=True),
    # pod
    BadSpec("label of our own", pod(labels={"serving.tfmodel.dev/server": "other"}), "choose other keys", in_code=True),
    BadSpec("label under our domain", pod(labels={"models.serving.tfmodel.dev/x": "y"}), "choose other keys", in_code=True),
    BadSpec("label of the Deployment", pod(labels={"pod-template-hash": "y"}), "choose other keys", in_code=True),
    BadSpec("annotation of our own", pod(annotations={"serving.tfmodel.dev/config-hash": "y"}), "choose other keys", in_code=True),
    BadSpec("variable of our own", pod(env=[{"name": "CUDA_CACHE_PATH", "value": "/x"}]), "are set by this operator", in_code=True),
    BadSpec("variable with a space", pod(env=[{"name": "A B", "value": "/x"}]), "a variable's name may hold"),
    BadSpec("variable given twice", pod(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]), "Duplicate value"),
    BadSpec("variable with two values", pod(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]), "give value or valueFrom, not both"),
    BadSpec("variable from two places", pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}, "configMapKeyRef": {"name": "a", "key": "b"}}}]), "choose exactly one of"),
    BadSpec("unknown taint effect", pod(tolerations=[{"key": "a", "effect": "Never"}]), 'supported values: "NoSchedule"'),
    BadSpec("unknown toleration operator", pod(tolerations=[{"key": "a", "operator": "Like"}]), 'supported values: "Exists", "Equal"'),
    BadSpec("root", pod(securityContext={"runAsUser": 0}), "greater than or equal to 1"),
    BadSpec("privilege", pod(securityContext={"privileged": True}), 'unknown field "spec.server.pod.securityContext.privileged"'),
    BadSpec("volume", pod(volumes=[{"name": "a"}]), 'unknown field "spec.server.pod.volumes"'),
    BadSpec("spread that can't fail", pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]), "greater than or equal to 1"),
    BadSpec("spread without a choice", pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "a"}]), "whenUnsatisfiable: Required value"),
    BadSpec("spread with another choice", pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "Maybe"}]), 'supported values: "DoNotSchedule"'),
    BadSpec("weight without preference", pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}), "preference: Required value"),
    BadSpec("unknown node operator", pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Like"}]}]}}}), 'supported values: "In"'),
    BadSpec("claim by two ways", pod(resourceClaims=[{"name": "a", "resourceClaimName": "b", "resourceClaimTemplateName": "c"}]), "give resourceClaimName or resourceClaimTemplateName"),
    # network
    BadSpec("unknown Service type", server(service={"type": "ExternalName"}), 'supported values: "ClusterIP"', in_code=True),
    BadSpec("Service annotation of our own", server(service={"annotations": {"serving.tfmodel.dev/applied-hash": "x"}}), "choose other keys", in_code=True),
    BadSpec("unknown network policy", server(networkPolicy={"policy": "On"}), 'supported values: "Enabled", "Disabled"', in_code=True),
    BadSpec("peer of two kinds", server(networkPolicy={"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}), "give ipBlock, or podSelector and namespaceSelector"),
    BadSpec("peer of no kind", server(networkPolicy={"from": [{}]}), "give ipBlock, or podSelector and namespaceSelector"),
)  # fmt: skip
"""Refused at admission."""

SERVERS_REFUSED = (
    BadSpec("no models", {"maxModels": 0}, "greater than or equal to 1"),
    BadSpec("too many models", {"maxModels": 501}, "less than or equal to 500"),
    BadSpec("budget below nothing", {"memoryBudget": "-1Gi"}, "spec.memoryBudget"),
    BadSpec("volume without a claim", {"volumes": [{}]}, "claimName: Required value"),
    BadSpec("volume twice", {"volumes": [{"claimName": "a"}, {"claimName": "a"}]}, "Duplicate value"),
    BadSpec("field of a TFModel", {"source": {}}, 'unknown field "spec.source"'),
    BadSpec("accelerator that is none", {"accelerator": {"resource": "gpu"}}, "must have the form domain/name"),
    BadSpec("drain that is too short", {"drainSeconds": 20, "grpc": {"maxConnectionAgeSeconds": 18}}, "raise drainSeconds"),
    BadSpec("flag of our own", {"extraArgs": ["--port=1"]}, "from another field of spec, or could break serving; kubectl explain tfmodelserver.spec.extraArgs"),
    BadSpec("server name with a dot", {}, "lower case letters, digits and '-'", name="a.b"),
)  # fmt: skip
"""TFModelServers that are refused at admission."""

NAMED = (
    BadSpec("requests above limits", server(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}), "must be less than or equal to memory limit"),
    BadSpec("quantity below nothing", server(resources={"requests": {"cpu": "-1"}}), "must be greater than or equal to 0"),
    BadSpec("batches on CPUs below nothing", server(resources={"limits": {"cpu": "-1"}}, batching={"maxBatchSize": 8}), "must be greater than or equal to 0"),
    BadSpec("fraction of a device", server(resources={"limits": {"example.com/device": "500m"}}), "must be an integer"),
    BadSpec("resource without a name", server(resources={"limits": {"gpu": 1}}), "must be a standard resource for containers"),
    BadSpec("label key with a space", pod(labels={"a b": "c"}), "template.labels"),
    BadSpec("label value with a space", pod(labels={"a": "b c"}), "template.labels"),
    BadSpec("annotation key with a space", pod(annotations={"a b": "c"}), "template.annotations"),
    BadSpec("Service annotation key with a space", server(service={"annotations": {"a b": "c"}}), "metadata.annotations"),
    BadSpec("node label with a space", pod(nodeSelector={"a b": "c"}), "nodeSelector"),
    BadSpec("toleration with a key that isn't one", pod(tolerations=[{"key": "a b"}]), "tolerations[0].key"),
    BadSpec("toleration of nothing", pod(tolerations=[{"operator": "Equal", "value": "x"}]), "operator must be Exists when `key` is empty"),
    BadSpec("seconds without NoExecute", pod(tolerations=[{"key": "a", "tolerationSeconds": 3}]), "effect must be 'NoExecute'"),
    BadSpec("In without values", pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}}), "must be specified when `operator` is 'In'"),
    BadSpec("Gt without a number", pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "Gt", "values": ["a"]}]}]}}}), "matchFields[0].operator"),
    BadSpec("In without labels", pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}}), "must be specified when `operator` is 'In'"),
    BadSpec("label keys without labels", pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "a", "matchLabelKeys": ["b"]}]}}), "must not be specified when labelSelector is not set"),
    BadSpec("spread over domains that may be skipped", pod(topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}]), "minDomains"),
    BadSpec("priority class with capitals", pod(priorityClassName="High"), "priorityClassName"),
    BadSpec("account with capitals", pod(serviceAccountName="Models"), "serviceAccountName"),
    BadSpec("runtime class with capitals", pod(runtimeClassName="Nvidia"), "runtimeClassName"),
    BadSpec("variable from a field that isn't there", pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.colour"}}}]), "field label not supported"),
    BadSpec("variable from a resource that isn't there", pod(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.colour"}}}]), "resourceFieldRef"),
    BadSpec("network without a length", server(networkPolicy={"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}), "must be a valid CIDR value"),
    BadSpec("exception outside", server(networkPolicy={"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}}]}), "must be a strict subset of `cidr`"),
    BadSpec("peer with a value that isn't one", server(networkPolicy={"from": [{"podSelector": {"matchLabels": {"a": "b c"}}}]}), "podSelector"),
    BadSpec("claim that isn't requested by its name", pod(resourceClaims=[{"name": "a", "resourceClaimName": "A_B"}]), "resourceClaims[0].resourceClaimName"),
    BadSpec("agent with requests above limits", server(agent={"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}), "must be less than or equal to memory limit"),
)  # fmt: skip
"""Admitted, and then refused as part of an object that follows from them: the TFModel says so."""
