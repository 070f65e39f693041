"""What a saved_model.pb can say beyond the everyday: other tags, older TensorFlows, assets, parts that are too large."""

from __future__ import annotations

import os

import pytest

from tests.modelserver.protos import saved_model_pb2
from tfmodel_serving import verify, wire
from tfmodel_serving.saved_model import Verdict

LATE = 60.0


def edited(version, change):
    """Place half_plus_two and let ``change`` edit its SavedModel message."""
    file = version.place().path / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model)
    file.write_bytes(model.SerializeToString())
    return version


def tagged(*tag_sets):
    def change(model):
        graph = model.meta_graphs[0]
        del model.meta_graphs[:]
        for tags in tag_sets:
            graph.meta_info_def.tags[:] = tags
            model.meta_graphs.append(graph)

    return change


@pytest.mark.parametrize(
    ("tag_sets", "found"),
    [
        ([["serve"]], None),
        ([["train"], ["serve"]], None),
        ([["serve", "serve"]], None),
        ([["train"]], "{train}"),
        ([["serve", "gpu"]], "{gpu, serve}"),
        ([["train"], ["serve", "tpu"]], "{train}, {serve, tpu}"),
        ([[]], "{}"),
        ([], "none"),
    ],
)
def test_one_meta_graph_must_have_exactly_the_tag_serve(version, tag_sets, found):
    finding = edited(version, tagged(*tag_sets)).judged()
    assert (finding.verdict is Verdict.VERIFIED) is (found is None)
    if found:
        expected = f"saved_model.pb has no meta graph with the tag serve (and no other); tags of its meta graphs: {found}"
        assert finding.message == expected


def test_signatures_are_those_of_the_meta_graph_that_is_served(version):
    def change(model):
        tagged(["train"], ["serve"])(model)
        model.meta_graphs[0].signature_def.clear()
        del model.meta_graphs[1].signature_def["regress_x_to_y"]

    assert list(edited(version, change).judged().signatures) == ["classify_x_to_y", "serving_default"]


def test_a_model_without_signatures_loads_and_answers_nothing(version):
    found = edited(version, lambda model: model.meta_graphs[0].signature_def.clear()).judged()
    assert (found.verdict, found.warnings) == (Verdict.VERIFIED, ("it has no signatures: every request will fail",))


@pytest.mark.parametrize("op", ["VariableV2", "Variable", "AutoReloadVariable", "VarHandleOp"])
@pytest.mark.parametrize("has_saver", [True, False])
def test_variables_of_any_age_need_the_index_if_a_saver_restores_them(version, op, has_saver):
    """A graph with nothing but local variables has no saver, and initialises them itself."""

    def change(model):
        graph = model.meta_graphs[0]
        del graph.graph_def.node[:]
        graph.graph_def.ClearField("library")
        graph.graph_def.node.add(name="v", op=op)
        if not has_saver:
            graph.ClearField("saver_def")

    found = edited(version, change).damage("no variables").judged()
    assert (found.verdict, found.warnings) == (Verdict.INCOMPLETE if has_saver else Verdict.VERIFIED, ())


def test_tables_that_a_saver_restores_need_the_index_too(version):
    """A MutableHashTable is no variable; without the index it would be empty and every answer wrong."""

    def change(model):
        graph = model.meta_graphs[0].graph_def
        del graph.node[:]
        nodes = [node for function in graph.library.function for node in function.node_def]
        (names,) = (node for node in nodes if node.name == "RestoreV2/tensor_names")
        assert len(names.attr["value"].tensor.string_val) == 3, "two keys and the object graph"

    assert edited(version, change).damage("no variables.index").judged().verdict is Verdict.INCOMPLETE


def test_a_damaged_checkpoint_that_nothing_restores_is_a_warning(version):
    edited(version, lambda model: model.meta_graphs[0].ClearField("saver_def")).damage("no data shard")
    found = version.judged(after=LATE)
    assert found.verdict is Verdict.VERIFIED
    assert found.warnings == ("variables/variables.data-00000-of-00001 is missing; the model restores nothing",)


@pytest.mark.parametrize("is_tf1", [False, True])
def test_an_asset_that_is_missing_is_waited_for(version, is_tf1):
    def change(model):
        graph = model.meta_graphs[0]
        graph.asset_file_def.add(filename="words.txt")
        if is_tf1:
            graph.collection_def["saved_model_assets"].any_list.value.add().Pack(graph.asset_file_def[0])
            graph.ClearField("asset_file_def")

    found = edited(version, change).judged(after=LATE)
    assert (found.verdict, found.message) == (Verdict.INCOMPLETE, "assets/words.txt is missing")
    (version.path / "assets").mkdir(exist_ok=True)
    (version.path / "assets" / "words.txt").touch()
    assert version.judged().verdict is Verdict.VERIFIED


def test_an_asset_outside_of_the_version_is_refused(version):
    found = edited(version, lambda model: model.meta_graphs[0].asset_file_def.add(filename="../../secret")).judged()
    assert found.verdict is Verdict.REJECTED
    assert "../../secret" in found.message


def test_debug_information_that_does_not_parse_fails_the_load(version):
    debug = version.place().path / "debug" / "saved_model_debug_info.pb"
    debug.parent.mkdir()
    debug.write_bytes(b"\x0a\x05file")
    assert version.judged().verdict is Verdict.INCOMPLETE
    assert version.judged(after=LATE).message.startswith("debug/saved_model_debug_info.pb is cut short")
    debug.write_bytes(b"\x00" * 16)
    assert version.judged().message.startswith("debug/saved_model_debug_info.pb can't be parsed")
    debug.write_bytes(b"\x0a\x04file")
    assert version.judged().verdict is Verdict.VERIFIED


def test_a_file_with_a_hole_in_it_is_refused(version):
    """As a copy leaves it that sets the size first."""
    file = version.place().path / "saved_model.pb"
    content = file.read_bytes()
    file.write_bytes(content[:4096] + bytes(8192) + content[12288:])
    assert version.judged().verdict is Verdict.REJECTED


def test_a_model_of_more_than_2_gib_is_refused_unread(version):
    os.truncate(version.place().path / "saved_model.pb", 2**31)
    assert "a protobuf message may have 2147483647" in version.judged().message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("meta_graphs {", "saved_model.pbtxt can't be parsed: "),
        ("a {" * 5000, "saved_model.pbtxt can't be parsed: it is nested too deeply"),
        ("meta_graphs {}" * 101, "saved_model.pbtxt can't be parsed: it has more than 100 meta graphs"),
        ("\xff", "saved_model.pbtxt can't be parsed: "),
        ('meta_graphs { meta_info_def { tags: "train" } }', "saved_model.pbtxt has no meta graph with the tag serve"),
        ("", "saved_model.pbtxt is empty"),
    ],
)
def test_text_that_is_no_model_ends_in_a_reason(version, text, message):
    version.place().damage("saved_model.pbtxt")
    (version.path / "saved_model.pbtxt").write_bytes(text.encode("latin-1"))
    found = version.judged(after=LATE)
    assert found.verdict is Verdict.REJECTED
    assert found.message.startswith(message)


def test_text_that_is_half_copied_waits(version):
    file = version.place().damage("saved_model.pbtxt").path / "saved_model.pbtxt"
    file.write_bytes(file.read_bytes()[:1000])
    assert version.judged().verdict is Verdict.INCOMPLETE


def test_text_that_is_too_large_to_be_looked_into_is_let_through_if_its_variables_are_there(version, monkeypatch):
    monkeypatch.setattr(verify.meta_graph, "MAX_TEXT_BYTES", 100)
    found = version.place().damage("saved_model.pbtxt").judged()
    assert found.verdict is Verdict.VERIFIED
    assert "is not looked into" in found.warnings[0]
    assert version.damage("no variables.index").judged().verdict is Verdict.INCOMPLETE


def test_the_chunked_form_is_let_through_with_a_warning(version):
    version.place()
    (version.path / "saved_model.pb").rename(version.path / "saved_model.cpb")
    found = version.judged()
    assert (found.verdict, len(found.warnings), found.signatures) == (Verdict.VERIFIED, 1, {})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x12\x00" * 101, id="too many meta graphs"),
        pytest.param(b"\x12\x08\x0a\x06\x22\x04" + b"\xff" * 4, id="a tag that is no UTF-8"),
        pytest.param(wire.encoded_field(2, wire.encoded_field(1, wire.encoded_field(4, b"x" * 900_000)) * 5), id="tags of 4.5 MB"),
    ],
)
def test_a_hostile_model_is_refused(version, content):
    (version.place().path / "saved_model.pb").write_bytes(content)
    found = version.judged()
    assert found.verdict is Verdict.REJECTED
    assert found.message.startswith("saved_model.pb can't be parsed: ")
