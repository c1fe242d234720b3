"""Read settings files: TOML into frozen pydantic models, with every fault listed by file and key."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from jetspect.errors import ConfigError
from jetspect.runtime.redaction import without_credentials

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECRET_KEYS = ("password", "passwd", "passphrase", "secret", "token")
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A section of a settings file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # Settings end in logs and tracebacks; an address of a camera may hold its login.
        for name, value in super().__repr_args__():
            yield name, "..." if isinstance(value, str) and _secret("", value) else value


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    path = path.expanduser()
    return path if base is None or path.is_absolute() else Path(base) / path


LocalPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; where it is relative it counts from the folder of the settings file."""


def load_settings(path: Path, model: type[Model]) -> Model:
    """Read a TOML file into a settings model.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or has unknown keys or wrong values; all of them are listed.
    """
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(path), [f"is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"]
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"is not valid TOML: {error}"]) from error
    return parse_settings(data, model, where=str(path), base=path.parent)


def parse_settings(data: dict[str, Any], model: type[Model], *, where: str, base: Path | None = None) -> Model:
    """Validate a dictionary as :func:`load_settings` does a file."""
    try:
        return model.model_validate(data, context={"base": base} if base else None)
    except ValidationError as error:
        raise ConfigError(where, [_fault(item) for item in error.errors(include_url=False)]) from error


def _fault(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(file)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or check its spelling"
    if item["type"] == "missing":
        return f"{key}: missing"
    value = item["input"]
    # A value may be a secret or a whole table: name it only where it is a short plain one.
    shown = f" (got {value!r})" if isinstance(value, (int, float, str)) and not _secret(key, value) else ""
    return f"{key}: {item['msg'].removeprefix('Value error, ')}{shown[:120]}"


def _secret(key: str, value: object) -> bool:
    text = str(value)
    # user:password@host is a common slip.
    return "@" in text or without_credentials(text) != text or any(w in key.lower() for w in _SECRET_KEYS)
