"""What an OpenAPI document says of an answer: the part of JSON Schema that the documents here use."""

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_KNOWN = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "oneOf", "anyOf", "$ref", "description",
    "format", "minimum",
}  # fmt: skip


def faults(value: Any, schema: dict[str, Any], document: dict[str, Any], where: str = "$") -> list[str]:  # noqa: ANN401 - JSON
    """How a value differs from its schema."""
    assert schema.keys() <= _KNOWN, f"{where}: {schema.keys() - _KNOWN} is nothing this knows"
    if "$ref" in schema:
        return faults(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document, where)
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        each = [faults(value, one, document, where) for one in choices]
        return [] if any(not one for one in each) else [f"{where}: none of the choices: {each}"]
    types = schema.get("type", list(_TYPES))
    allowed = tuple(one for name in ([types] if isinstance(types, str) else types) for one in _TYPES[name])
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        return [f"{where}: {value!r} is no {types}"]
    found = [f"{where}: {value!r} is none of {schema['enum']}"] if value not in schema.get("enum", [value]) else []
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        if schema.get("additionalProperties") is False:
            found += [f"{where}: {name} is not in the document" for name in value.keys() - schema["properties"].keys()]
        for name in value.keys() & schema["properties"].keys():
            found += faults(value[name], schema["properties"][name], document, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        found += [
            one for at, item in enumerate(value) for one in faults(item, schema["items"], document, f"{where}[{at}]")
        ]
    return found


def answer_faults(document: dict[str, Any], method: str, path: str, status: int, kind: str, value: Any) -> list[str]:  # noqa: ANN401 - JSON
    """How an answer differs from what the document says of it."""
    operation = document["paths"].get(path.partition("?")[0], {}).get(method.lower())
    if operation is None:
        return [f"{method} {path} is not in the document"]
    answer = operation["responses"].get(str(status))
    if answer is None:
        return [f"{method} {path}: {status} is not in the document"]
    content = answer["content"]
    if kind not in content:
        return [f"{method} {path}: {kind} is none of {list(content)}"]
    return faults(value, content[kind]["schema"], document, f"{method} {path} {status}")
