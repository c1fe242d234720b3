"""Set GenICam features by name, so that what the camera does not take is an error that says what it would."""

from __future__ import annotations

import difflib
import logging
from typing import Any

from jetspect.errors import InputError, SourceError
from jetspect.runtime.sources.aravis import AravisCamera, require_aravis

log = logging.getLogger(__name__)
Value = bool | int | float | str
_TOLERANCE = 0.05  # cameras round times and gains to what their sensor can do


class Features:
    """The features of an open camera. Names and values are those of its GenICam description."""

    def __init__(self, camera: AravisCamera) -> None:
        from gi.repository import GLib

        self._aravis, self._error = require_aravis(), GLib.Error
        self._camera = camera
        self._name = camera.name
        # Without it Aravis writes a value outside the range as it is, and the camera does what it wants.
        camera.handle.set_range_check_policy(self._aravis.RangeCheckPolicy.ENABLE)

    def has(self, feature: str) -> bool:
        return self._node(feature) is not None

    def get(self, feature: str) -> str:
        return str(self._require(feature).get_value_as_string())

    def set(self, feature: str, value: Value) -> None:
        """Set a feature, or execute it where it is a command and the value true; then see that the camera took it.

        Raises
        ------
        InputError
            The camera has no such feature, the value is of another kind, out of range or not taken.
        SourceError
            The camera did not answer.
        """
        node = self._require(feature)
        if isinstance(node, self._aravis.GcCommand):
            if value is not True:
                raise InputError(f"{self._name}: {feature} is a command; only true can be given, which executes it")
            self._call(feature, value, node.execute)
            return
        if isinstance(node, self._aravis.GcCategory):
            raise InputError(f"{self._name}: {feature} is a group of features; set the ones inside")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(node, self._aravis.GcInteger) and not isinstance(node, self._aravis.GcEnumeration):
            number = _whole(value)
            if number is None:
                raise InputError(f"{self._name}: {feature} takes a whole number{self._allowed(node)}; got {value!r}")
            text = str(number)
        self._call(feature, value, lambda: node.set_value_from_string(text))
        taken = str(self._call(feature, value, node.get_value_as_string))
        if not _same(text, taken, exact=isinstance(node, self._aravis.GcInteger)):
            raise InputError(
                f"{self._name}: {feature} = {value!r} was not taken, it is {taken}{self._allowed(node)}; "
                "set another value, or the feature that holds it first"
            )
        log.info("%s: %s = %s", self._name, feature, taken)

    def set_first(self, names: tuple[str, ...], value: Value, key: str) -> None:
        """Set the first of some features that the camera has; makers name the same thing differently."""
        for name in names:
            if self.has(name):
                self.set(name, value)
                return
        raise InputError(
            f"{self._name} has none of {', '.join(names)}: leave {key} out, or set the maker's feature under features"
        )

    def _call(self, feature: str, value: Value, work: Any) -> Any:
        try:
            return work()
        except self._error as error:
            if error.domain == "arv-gc-error-quark":  # about the value; the device's own domain is about the wire
                raise InputError(
                    f"{self._name} refuses {feature} = {value!r}: {error.message}{self._allowed(self._require(feature))}"
                ) from error
            raise SourceError(f"{self._name} did not answer when {feature} was set: {error.message}") from error

    def _node(self, feature: str) -> Any:
        return self._camera.handle.get_device().get_feature(feature)

    def _require(self, feature: str) -> Any:
        node = self._node(feature)
        if node is None:
            near = difflib.get_close_matches(feature, self._names(), n=3)
            hint = f"; near: {', '.join(near)}" if near else ""
            every = f"arv-tool-0.8 --name={self._camera.serial} features"
            raise InputError(f"{self._name} has no feature {feature!r}{hint}. All of them: {every}")
        return node

    def _names(self) -> list[str]:
        names: list[str] = []
        waiting = ["Root"]
        while waiting:
            name = waiting.pop()
            node = self._node(name)
            if isinstance(node, self._aravis.GcCategory):
                waiting += [n for n in node.get_features() if n not in names]
            elif node is not None:
                names.append(name)
        return names

    def _allowed(self, node: Any) -> str:
        """Say what a node takes, as far as it tells."""
        try:
            if isinstance(node, self._aravis.GcEnumeration):
                return f"; it takes {', '.join(node.dup_available_string_values())}"
            if isinstance(node, (self._aravis.GcInteger, self._aravis.GcFloat)):
                return f"; it takes {node.get_min():g} to {node.get_max():g}"
        except self._error:
            pass
        return ""


def _whole(value: Value) -> int | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _same(asked: str, taken: str, *, exact: bool) -> bool:
    try:
        a, b = float(asked), float(taken)
    except ValueError:
        return asked == taken
    return a == b if exact else abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))
