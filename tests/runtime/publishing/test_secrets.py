"""No password, key or login of a camera is ever shown: not in logs, answers, errors, messages or settings."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from commands import jetspect
from delivery import wait_for
from pydantic import ValidationError

from jetspect.errors import JetspectError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.publishing.outbox import Outbox

PASSWORD, PHRASE, CAMERA = "passw0rd-Xq7", "phrase-Zk3", "cam-Wm9"
LOGIN = 'username = "me"\npassword_file = "password"'
SECRETS = (PASSWORD, PHRASE, CAMERA)


def write(tmp_path: Path, bundle: Path, port: int, tls: str = "", login: str = "") -> Path:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    path = tmp_path / "station.toml"
    path.write_text(
        f'[station]\nsite = "s"\narea = "a"\nline = "l"\nunit = "u"\n[bundle]\npath = "{bundle}"\n'
        f'[source]\nkind = "video"\ndevice = "rtsp://inspector:{CAMERA}@127.0.0.1:9/stream"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        f"{login or LOGIN}\n{tls}\n"
    )
    return path


def shown(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *more: object) -> str:
    """Everything that came out, to search it."""
    formatter = logging.Formatter("%(message)s %(exc_text)s %(args)r")
    logs = "\n".join(formatter.format(record) for record in caplog.records)
    return "\n".join((*capfd.readouterr(), logs, caplog.text, *map(str, more)))


def assert_quiet(text: str) -> None:
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("takes_the_password", [True, False])
def test_a_station_shows_no_secret_whether_it_works_or_not(
    tmp_path: Path,
    metal_demo: Path,
    mosquitto: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    takes_the_password: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("KEY_PHRASE", PHRASE)
    authority = Authority(tmp_path, "ca")
    cert, key = authority.issue("station", password=PHRASE)
    (tmp_path / "known").write_text("")
    lines = "allow_anonymous true" if takes_the_password else f"allow_anonymous false\npassword_file {tmp_path}/known"
    broker = mosquitto(lines, listener=authority.listener(*authority.issue("broker")))
    tls = f'[broker.tls]\nca = "{authority.ca}"\ncert = "{cert}"\nkey = "{key}"\nkey_password_env = "KEY_PHRASE"'
    path = write(tmp_path, metal_demo, broker.port, tls)

    done = jetspect("-v", "run", path, "--check", "--json")
    assert json.loads(done.stdout)["ok"] is True, done
    config = load_station(path)
    with build_station(config) as station:
        thread = threading.Thread(target=station.run)
        thread.start()
        publisher = station._parts.publisher
        assert publisher is not None
        wait_for(lambda: publisher.state.startswith("online" if takes_the_password else "refused"))
        wait_for(lambda: "cannot be opened" in caplog.text)
        health = station.health()
        station.stop()
        station.stop()
        thread.join(20)
        assert not thread.is_alive()
        assert_quiet(
            shown(capfd, caplog, done, publisher.state, health, repr(config), config, repr(publisher.__dict__))
        )
    with Outbox(config.outbox.path) as outbox:
        assert_quiet(str(outbox.pending(limit=1000)))


@pytest.mark.parametrize(
    ("login", "tls", "says"),
    [
        (f'username = "me"\npassword = "{PASSWORD}"', "", "broker.password: unknown key"),
        (f'username = "me:{PASSWORD}@x"\npassword_env = "NOWHERE"', "", "NOWHERE (broker.password_env) is not set"),
        (f'username = "me"\npassword_env = "{PASSWORD}"', "", "broker.password_env: String should match pattern"),
        (f'username = "me"\npassword_env = ["{PASSWORD}"]', "", "broker.password_env: Input should be a valid string"),
        (f'username = "me"\npassword_file = "{{"a" = "{PASSWORD}"}}', "", "is not valid TOML"),
        (
            "",
            '[broker.tls]\ncert = "station.crt"\nkey = "station.key"\nkey_password_env = "KEY_PHRASE"',
            "cannot be used",
        ),
        ("", f'[broker.tls]\nkey_password = "{PHRASE}"', "broker.tls.key_password: unknown key"),
        (
            "",
            f'[broker.tls]\nkey_password_env = "{PHRASE}"',
            "broker.tls.key_password_env: String should match pattern",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(
    tmp_path: Path,
    metal_demo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    login: str,
    tls: str,
    says: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("KEY_PHRASE", PHRASE)  # not the one of the key
    Authority(tmp_path, "ca").issue("station", password="another")
    path = write(tmp_path, metal_demo, 1, tls, login)
    done = jetspect("-v", "run", path, "--check", "--json")
    assert done.returncode == 2
    assert says in json.loads(done.stdout)["error"]["message"]
    assert_quiet(shown(capfd, caplog, done))


def test_logins_are_left_out_of_what_settings_say_of_themselves() -> None:
    pipeline = f"rtspsrc location=rtsp://cam/ user-id=me user-pw={CAMERA} ! appsink"
    section = {"site": "s", "area": "a", "line": "l", "unit": "u"}
    for source in (
        {"kind": "gstreamer", "pipeline": pipeline},
        {"kind": "video", "device": f"http://me:{CAMERA}@cam/x"},
    ):
        config = StationConfig.model_validate({"station": section, "bundle": {"path": "b"}, "source": source})
        for text in (repr(config), str(config), repr(config.source), f"{config.source}"):
            assert_quiet(text)
            assert "..." in text


@pytest.mark.parametrize(
    ("level", "value"),
    [
        ("unit", "+"),
        ("unit", "island#"),
        ("line", "a/b"),
        ("area", ""),
        ("site", "two words"),
        ("site", "x" * 65),
        ("namespace", "$SYS"),
        ("unit", "nul\\u0000"),
        ("unit", "rtl\\u202e"),
    ],
)
def test_a_station_file_with_a_name_that_is_no_topic_level_is_refused(
    tmp_path: Path, metal_demo: Path, level: str, value: str
) -> None:
    path = write(tmp_path, metal_demo, 1)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{level} =")]
    path.write_text("\n".join(lines).replace("[station]", f'[station]\n{level} = "{value}"'))
    with pytest.raises(JetspectError, match=rf"station\.{level}: a topic level "):
        load_station(path)


def test_a_pair_that_is_not_whole_is_refused() -> None:
    with pytest.raises(ValidationError, match="key_password_env is for a key"):
        StationConfig.model_validate(
            {
                "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
                "bundle": {"path": "b"},
                "source": {"kind": "synthetic"},
                "broker": {"tls": {"key_password_env": "X"}},
            }
        )
