"""souk check warns of every door that the configuration opens. Nothing runs."""

import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import stacks  # noqa: E402

TOKENS = "boss 0123456789abcdef write\n"


@pytest.mark.parametrize("hub, tokens, warned", [
    ({}, False, {"hub.tokens_file"}),
    ({}, True, set()),
    ({"host": "::1"}, True, set()),
    ({"open_to_local": True}, False, {"hub.open_to_local"}),
    ({"host": "0.0.0.0"}, False, {"hub.tokens_file", "hub.host", "hub.open_metrics"}),
    ({"host": "0.0.0.0"}, True, {"hub.host", "hub.open_metrics"}),
    ({"host": "0.0.0.0", "open_metrics": False}, True, {"hub.host"}),
    ({"host": "192.0.2.1", "open_to_local": True}, False, {"hub.open_to_local", "hub.host", "hub.open_metrics"}),
], ids=str)
def test_doors_that_stand_open_are_named(tmp_path, hub, tokens, warned):
    if tokens:
        (tmp_path / "tokens").write_text(TOKENS)
        (tmp_path / "tokens").chmod(0o600)
        hub = hub | {"tokens_file": str(tmp_path / "tokens")}
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps({"hub": hub}))
    done = stacks.run_souk("check", "--json", config=config)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["checks"]
    assert {c["name"] for c in found} == warned
    assert all(c["result"] == "warn" and c["what"] and c["hint"] for c in found)
    strict = stacks.run_souk("check", "--deny-warnings", config=config)
    assert strict.returncode == (3 if warned else 0), strict.stdout


@pytest.mark.parametrize("mode, warned", [(0o600, False), (0o400, False), (0o644, True), (0o620, True), (0o604, True)], ids=oct)
@pytest.mark.parametrize("key", ["hub.tokens_file", "clickhouse.password_file"])
def test_secrets_that_others_may_open_are_named(tmp_path, key, mode, warned):
    room, name = key.split(".")
    for file in ("tokens", "secret"):
        (tmp_path / file).write_text(TOKENS)
        (tmp_path / file).chmod(0o600)
    (tmp_path / "secret").chmod(mode)
    more = {"hub": {"tokens_file": str(tmp_path / "tokens")}}
    more.setdefault(room, {})[name] = str(tmp_path / "secret")
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps(more))
    done = stacks.run_souk("check", "--json", config=config)
    assert done.returncode == 0, done.stderr
    found = {c["name"]: c["what"] for c in json.loads(done.stdout)["checks"]}
    assert set(found) == ({key} if warned else set())
    assert not warned or f"{mode:o}" in found[key]


@pytest.mark.parametrize("hub, tokens, says", [
    ({}, TOKENS + "boss fedcba9876543210\n", "tokens:2: the name is there already"),
    ({}, TOKENS + "other 0123456789abcdef\n", "tokens:2: the token is there already"),
    ({}, "".join(f"n{i} 0123456789abcdef{i}\n" for i in range(17)), "tokens:17: more than 16 tokens"),
    ({"host": "not a host"}, TOKENS, "hub.host is \"not a host\""),
    ({"host": "localhost"}, TOKENS, "hub.host is \"localhost\""),
], ids=str)
def test_what_the_start_would_refuse_the_check_refuses(tmp_path, hub, tokens, says):
    (tmp_path / "tokens").write_text(tokens)
    config = tmp_path / "souk.yaml"
    config.write_text(json.dumps({"hub": hub | {"tokens_file": str(tmp_path / "tokens")}}))
    done = stacks.run_souk("check", config=config)
    assert done.returncode == 78 and says in done.stdout + done.stderr, (done.returncode, done.stdout, done.stderr)
