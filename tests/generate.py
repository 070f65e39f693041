"""Write the generated files anew (`make generate`), or check that they are what they would be (`make verify`).

Generated are: the protobuf modules, the CRD of TFModelServers, the chart's copies of the CRDs, the schema of the agent's state, and the sample with a SavedModel inside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

from tests import sample, tfmodelservers
from tfmodel_serving import state

ROOT = Path(__file__).resolve().parent.parent
PROTOS = tuple(f"tfmodel_serving/protos/{name}.proto" for name in ("serving", "saved_model", "batching", "answers"))
CRDS = ROOT / "crds"


def protos() -> dict[Path, bytes]:
    """Compile the .proto files."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    source, well_known = ROOT / "operator", Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["protoc", f"-I{source}", f"-I{well_known}", f"--python_out={directory}", f"--mypy_out=quiet:{directory}"]
        if protoc.main([*arguments, f"--plugin=protoc-gen-mypy={plugin}", *PROTOS]) != 0:
            sys.exit(f"{' or '.join(PROTOS)} does not compile")
        return {source / made.relative_to(directory): made.read_bytes() for made in Path(directory).rglob("*_pb2.py*")}


def crds() -> dict[Path, bytes]:
    """Make the CRD of TFModelServers from its own part and the schema of TFModels, and copy both into the chart for Helm."""
    models = CRDS / "serving.tfmodel.dev_tfmodels.yaml"
    made = {
        CRDS / "serving.tfmodel.dev_tfmodelservers.yaml": tfmodelservers.crd(models.read_text()).encode(),
        models: models.read_bytes(),
    }
    chart = ROOT / "charts/tfmodel-operator/files/crds"
    return made | {chart / path.name: content for path, content in made.items()}


def state_schema() -> dict[Path, bytes]:
    """Write what an agent says at /v1/state as a JSON schema."""
    types = {"int": {"type": "integer"}, "str": {"type": "string"}, "bool": {"type": "boolean"}, "float": {"type": "number"}}

    def of(kind: type) -> dict[str, object]:
        members: dict[str, object] = {}
        required: list[str] = []
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            name = str(field.type)
            inner = name.removeprefix("tuple[").removesuffix(", ...]").removesuffix(" | None")
            item = dict(types.get(inner) or of(getattr(state, inner)))
            if name.endswith(" | None"):
                item = {"anyOf": [item, {"type": "null"}]}
            members[field.name] = {"type": "array", "items": item} if name.startswith("tuple[") else item
            if field.default is dataclasses.MISSING:
                required.append(field.name)
            else:
                default = dataclasses.asdict(field.default) if dataclasses.is_dataclass(field.default) else field.default
                members[field.name]["default"] = default  # type: ignore[index]
        return {"type": "object", "properties": members, "required": sorted(required)}

    schema = of(state.AgentState)
    schema["properties"] = {"schema": {"const": state.SCHEMA}, **schema["properties"]}  # type: ignore[dict-item]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "An agent's answer at /v1/state"}
    text = json.dumps({**head, **schema, "required": ["schema", *schema["required"]]}, indent=2) + "\n"  # type: ignore[misc]
    return {ROOT / "docs/agent-state.schema.json": text.encode()}


GENERATORS: tuple[Callable[[], dict[Path, bytes]], ...] = (protos, crds, state_schema, sample.files)


def main() -> int:
    """Return 0 if all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a file differs")
    check = parser.parse_args().check
    differing = [
        path
        for generate in GENERATORS
        for path, content in generate().items()
        if not path.exists() or path.read_bytes() != content
        if check or not _write(path, content)
    ]
    for path in differing:
        print(f"{path.relative_to(ROOT)} differs from its source: run `make generate`, and commit the result", file=sys.stderr)
    return 1 if differing else 0


def _write(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"wrote {path.relative_to(ROOT)}")
    return True


if __name__ == "__main__":
    sys.exit(main())
