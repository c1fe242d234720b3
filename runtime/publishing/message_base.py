"""What every message of a station is made of: JSON on the wire, JSON Schema from the same pydantic models."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from jetspect.runtime.manifest import Sha256
from jetspect.runtime.results import ModelIdentity


def _to_utc(at: datetime) -> datetime:
    try:
        return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
    except OverflowError as error:  # pydantic passes on nothing but ValueError as a fault of the message
        raise ValueError(f"{at.isoformat()} is no time in UTC") from error


def opc(name: str) -> JsonDict:
    """Name the field of OPC 40100-1 (Machine Vision) that carries the same."""
    return {"x-opc-40100-1": name}


Utc = Annotated[datetime, AfterValidator(_to_utc)]
"""A time, kept and written in UTC; one without an offset counts as UTC, so that no result is lost over it."""

MAX_TEXT = 4096
"""Characters of a text from outside; a longer one is cut, and still differs from every other."""


def _outside_text(value: str) -> str:
    """Replace what is no UTF-8, and cut what is too long; then it ends with … and the start of the SHA-256 of the whole."""
    data = value.encode("utf-8", "replace")
    if len(value) <= MAX_TEXT:
        return data.decode("utf-8")
    mark = "…" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return value[: MAX_TEXT - len(mark)].encode("utf-8", "replace").decode("utf-8") + mark


Text = Annotated[str, AfterValidator(_outside_text)]
"""A text from outside; what is no UTF-8 (a name of a file) becomes '?', and no result is lost over its length."""


class Message(BaseModel):
    """A reader ignores fields it does not know: a newer station may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def payload(self) -> bytes:
        """The compact JSON that goes over the wire."""
        return self.model_dump_json().encode()


class StationAddress(Message):
    """Where the inspection point stands."""

    namespace: str
    site: str
    area: str
    line: str
    unit: str


class ModelInfo(Message):
    """Which model in which engine gave the answer."""

    name: str = Field(json_schema_extra=opc("ResultDataType.internalRecipeId.id"))
    version: str = Field(json_schema_extra=opc("ResultDataType.internalRecipeId.version"))
    manifest_sha256: Sha256 = Field(json_schema_extra=opc("ResultDataType.internalRecipeId.hash"))
    precision: str
    engine: str


def model_info(m: ModelIdentity) -> ModelInfo:
    return ModelInfo(
        name=m.name, version=m.version, manifest_sha256=m.manifest_sha256, precision=m.precision, engine=m.engine
    )
