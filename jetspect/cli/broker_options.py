"""The options of every command that is a client of a broker, and the settings that they make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ConfigDict, Field

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.settings import Settings, load_settings, parse_settings

BrokerFileOption = Annotated[
    Path | None,
    typer.Option(
        "--broker", help="TOML file with a [broker] section, as in a station file; options given beside it win."
    ),
]
HostOption = Annotated[str | None, typer.Option(help="Broker; localhost by default.")]
PortOption = Annotated[int | None, typer.Option(help="Its port; 1883 by default.")]
UsernameOption = Annotated[str | None, typer.Option(help="User name.")]
PasswordEnvOption = Annotated[str | None, typer.Option(help="Environment variable with the password.")]
PasswordFileOption = Annotated[Path | None, typer.Option(help="File with the password in its first line.")]
CaOption = Annotated[Path | None, typer.Option(help="CA certificate (PEM); switches TLS on.")]
CertOption = Annotated[Path | None, typer.Option(help="Own certificate (PEM), with --key.")]
KeyOption = Annotated[Path | None, typer.Option(help="Own private key (PEM), with --cert.")]
KeyPasswordEnvOption = Annotated[
    str | None, typer.Option(help="Environment variable with the password of an encrypted key.")
]
PinOption = Annotated[
    list[str] | None, typer.Option("--pin-sha256", help="Pin of the broker's public key; may be given again.")
]


class _BrokerFile(Settings):
    """Whatever else stands in the file is for someone else."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    broker: BrokerSettings = Field(description="As in a station file")


def broker_settings(
    *,
    where: str,
    broker: BrokerFileOption = None,
    host: HostOption = None,
    port: PortOption = None,
    username: UsernameOption = None,
    password_env: PasswordEnvOption = None,
    password_file: PasswordFileOption = None,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    key_password_env: KeyPasswordEnvOption = None,
    pin_sha256: PinOption = None,
) -> BrokerSettings:
    """Put file and options together.

    Raises
    ------
    ConfigError
        The file cannot be read, or the settings do not fit together; ``where`` names the command.
    """
    plain = {"host": host, "port": port, "username": username}
    password = {"password_env": password_env, "password_file": password_file}
    tls = {"ca": ca, "cert": cert, "key": key, "key_password_env": key_password_env, "pin_sha256": pin_sha256 or None}
    data: dict[str, Any] = {}
    if broker is not None:
        data = load_settings(broker, _BrokerFile).broker.model_dump(exclude_unset=True)
    if _given(password):  # one way to give a password takes the place of the other
        data = {name: value for name, value in data.items() if name not in password}
    data |= _given({**plain, **password})
    if given := _given(tls):
        data["tls"] = {**(data.get("tls") or {}), **given}
    return parse_settings(data, BrokerSettings, where=where)


def with_broker_options(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options of :func:`broker_settings` in the place of a command's parameter ``broker``, which gets the settings."""
    options = inspect.signature(broker_settings, eval_str=True).parameters
    ours = [option for name, option in options.items() if name != "where"]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = broker_settings(where=command.__name__, **{option.name: given.pop(option.name) for option in ours})
        command(broker=settings, **given)

    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command, eval_str=True).parameters.values():
        parameters += ours if own.name == "broker" else [own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    # Typer reads both.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
