"""The checked-in contract is what this jetspect publishes."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import jetspect

from jetspect.runtime.publishing.compatibility import breaking_changes, broken_channels
from jetspect.runtime.publishing.contract import CHANNELS, asyncapi, documents, json_schema
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.publishing.topics import VERSION, Topics

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = REPOSITORY / "schemas" / VERSION


def schema_command(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jetspect", "schema", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)


@pytest.mark.parametrize("leaf", [c.leaf for c in CHANNELS])
def test_no_message_breaks_what_was_promised(leaf: str) -> None:
    """Compare the models with the files of the repository. Rather than writing those again, keep the old field."""
    promised = json.loads((FOLDER / f"{leaf.replace('/', '.')}.schema.json").read_text())
    assert breaking_changes(promised, json_schema(leaf)) == []


def test_no_topic_quality_of_service_or_reply_breaks_what_was_promised() -> None:
    assert broken_channels(json.loads((FOLDER / "asyncapi.json").read_text()), asyncapi()) == []


def test_the_files_of_the_repository_are_what_is_generated() -> None:
    """After a compatible change run: jetspect schema"""
    assert {p.name: p.read_text() for p in FOLDER.glob("*.json")} == documents()


def test_every_schema_is_one_and_takes_unknown_fields_of_a_newer_station() -> None:
    for channel in CHANNELS:
        schema = json_schema(channel.leaf)
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert (schema.get("additionalProperties") is False) == (channel.action == "receive")


def test_a_reader_of_this_version_takes_a_result_of_a_newer_station() -> None:
    body = {
        "event_id": "e",
        "seq": 1,
        "station": {"namespace": "n", "site": "s", "area": "a", "line": "l", "unit": "u", "floor": 2},
        "frame": {"id": "f", "captured_at": "2026-01-01T00:00:00Z", "inspected_at": "2026-01-01T00:00:00Z"},
        "verdict": "OK",
        "model": {"name": "m", "version": "1", "manifest_sha256": "0" * 64, "precision": "fp32", "engine": "e"},
        "mood": "good",
    }
    assert ResultMessage.model_validate(body).seq == 1
    jsonschema.validate(body, json_schema("result"))


def test_the_asyncapi_document_is_valid_by_the_official_schema() -> None:
    packed = REPOSITORY / "tests" / "helpers" / "asyncapi" / "3.0.0.json.gz"
    official = jsonschema.Draft7Validator(json.loads(gzip.decompress(packed.read_bytes())))
    document = json.loads(documents()["asyncapi.json"])
    assert [error.message for error in official.iter_errors(document)] == []
    document["operations"]["send.result"]["action"] = "shout"
    assert list(official.iter_errors(document)), "the official schema checks nothing"


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads(documents()["asyncapi.json"])

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_addresses_are_the_topics_of_a_station() -> None:
    topics = Topics("n", "s", "a", "l", "u")
    levels = {"namespace": "n", "site": "s", "area": "a", "line": "l", "unit": "u"}
    channels = json.loads(documents()["asyncapi.json"])["channels"]
    said = {c["address"].format(**levels) for c in channels.values()}
    assert said >= {topics.result, topics.status, topics.meta, topics.health}
    assert said == {topics.leaf(c.leaf) for c in CHANNELS}


def test_the_command_checks_and_does_not_write_over_a_promise(tmp_path: Path) -> None:
    assert schema_command("--check").returncode == 0
    shutil.copytree(FOLDER, tmp_path / VERSION)
    file = tmp_path / VERSION / "result.schema.json"
    promised = json.loads(file.read_text())
    promised["properties"]["colour"] = {"type": "string"}
    file.write_text(json.dumps(promised))
    before = file.read_text()

    checked = schema_command("--out", str(tmp_path), "--check", "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["breaking"] == ["result.schema.json: colour: removed or renamed"]
    written = schema_command("--out", str(tmp_path))
    assert written.returncode == 2
    assert "result.schema.json: colour: removed or renamed" in written.stderr
    assert file.read_text() == before

    promised["properties"].pop("colour")
    promised["properties"].pop("tiles")  # an older promise: the field came later
    file.write_text(json.dumps(promised))
    assert schema_command("--out", str(tmp_path)).returncode == 0
    assert file.read_text() == documents()["result.schema.json"]


@pytest.mark.parametrize("content", ["", "[]", "no JSON"])
def test_what_is_no_document_of_the_contract_is_not_written_over(tmp_path: Path, content: str) -> None:
    file = tmp_path / VERSION / "asyncapi.json"
    file.parent.mkdir()
    file.write_text(content)
    done = jetspect("schema", "--out", tmp_path)
    assert (done.returncode, file.read_text()) == (2, content)
    assert "is no document of the contract" in done.stderr


def test_the_command_does_not_write_over_a_promised_quality_of_service(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / VERSION)
    file = tmp_path / VERSION / "asyncapi.json"
    promised = json.loads(file.read_text())
    promised["operations"]["send.health"]["bindings"]["mqtt"]["qos"] = 1
    file.write_text(json.dumps(promised))
    done = jetspect("schema", "--out", tmp_path)
    assert done.returncode == 2
    assert "asyncapi.json: operations.send.health.bindings.mqtt.qos: was 1, is now 0" in done.stderr
    assert json.loads(file.read_text()) == promised
