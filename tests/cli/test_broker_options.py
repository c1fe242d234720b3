"""How commands that are clients of a broker put a file and options together."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetspect.cli.broker_options import broker_settings
from jetspect.errors import ConfigError
from jetspect.runtime.publishing.broker import BrokerSettings

PIN = "A" * 43 + "="


def write(folder: Path, text: str) -> Path:
    path = folder / "broker.toml"
    path.write_text(text)
    return path


def test_without_options_it_is_the_broker_of_this_machine() -> None:
    assert broker_settings(where="replay") == BrokerSettings()


def test_a_file_alone_counts_and_what_is_for_a_station_is_passed_over(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[station]\nsite = "s"\n[broker]\nhost = "b"\nport = 8883\nusername = "me"\npassword_file = "secret"\n'
        f'[broker.tls]\nca = "ca.pem"\npin_sha256 = ["{PIN}"]\n',
    )
    made = broker_settings(where="replay", broker=path)
    assert (made.host, made.port, made.username) == ("b", 8883, "me")
    assert made.password_file == tmp_path / "secret"
    assert made.tls is not None
    assert (made.tls.ca, made.tls.pin_sha256) == (tmp_path / "ca.pem", (PIN,))


def test_options_win_over_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[broker]\nhost = "b"\nport = 8883\nusername = "me"\npassword_file = "secret"\n[broker.tls]\nca = "ca.pem"\n',
    )
    made = broker_settings(
        where="replay", broker=path, host="c", password_env="PW", cert=Path("my.crt"), key=Path("my.key")
    )
    assert (made.host, made.port, made.password_env, made.password_file) == ("c", 8883, "PW", None)
    assert made.tls is not None
    assert (made.tls.ca, made.tls.cert, made.tls.key) == (tmp_path / "ca.pem", Path("my.crt"), Path("my.key"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[station]\nsite = "s"\n', "broker: missing"),
        ("[broker]\nprot = 1\n", "broker.prot: unknown key"),
        ("[broker\n", "is not valid TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "none.toml" if text is None else write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        broker_settings(where="replay", broker=path)
    assert str(path) in str(caught.value)


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"replay.*cert and key belong together"):
        broker_settings(where="replay", cert=Path("my.crt"))
    with pytest.raises(ConfigError, match=r"replay.*a password needs a username"):
        broker_settings(where="replay", password_env="PW")
    with pytest.raises(ConfigError, match=r"replay.*a pin is the SHA-256"):
        broker_settings(where="replay", pin_sha256=["x"])
