"""Writes the types of `nodes/panel/wire.py` for `web/`: `python tests/support/typescript.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "web" / "wire.d.ts"
HEAD = """// What pages and server tell each other. Made of nodes/panel/wire.py by
// tests/support/typescript.py.

declare namespace Wire {
"""
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def declarations(models: tuple[Any, ...]) -> str:
    """Return one interface for every model, and for every model in them."""
    found: dict[str, Any] = {}
    for model in models:
        mode = "validation" if "Question" in model.__name__ else "serialization"
        schema = model.model_json_schema(mode=mode)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return HEAD + "\n".join(_interface(name, found[name]) for name in sorted(found)) + "}\n"


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", [])
    lines = [
        f"    {key}{'' if key in needed else '?'}: {_type(value)};"
        for key, value in schema.get("properties", {}).items()
    ]
    return "\n".join([f"  interface {name} {{", *lines, "  }", ""])


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " | ".join(f'"{one}"' for one in values)
    for several in ("anyOf", "allOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(map(_type, schema[several])))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(_type, schema['prefixItems']))}]"
        inner = _type(schema["items"])
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {_type(values) if isinstance(values, Mapping) else 'unknown'}>"
    return PLAIN.get(str(schema.get("type")), "unknown")


def main() -> None:
    """Write the file."""
    package = ModuleType("sencache")
    package.__path__ = [str(ROOT)]
    sys.modules["sencache"] = package
    for name in ("nodes", "nodes.panel"):  # without what ComfyUI is needed for
        part = ModuleType(f"sencache.{name}")
        part.__path__ = [str(ROOT / name.replace(".", "/"))]
        sys.modules[f"sencache.{name}"] = part
    from sencache.nodes.panel.wire import SPOKEN

    TARGET.write_text(declarations(SPOKEN), encoding="utf-8")


if __name__ == "__main__":
    main()
