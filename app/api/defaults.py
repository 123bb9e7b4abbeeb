"""Documents the defaults of optional fields in requests."""

import json
from typing import Any

from app.api.references import referred


def describe_defaults(document: dict[str, Any]) -> None:
    """Move the defaults in request bodies to the descriptions of their fields.

    openapi-typescript makes a field that has a `default` required: right in responses, wrong in
    requests. A client should not send values that its user never set: the default is the
    server's, and may change with it.
    """
    schemas = document["components"]["schemas"]
    bodies = [
        operation["requestBody"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    ]
    for name in referred(bodies, schemas):
        required = schemas[name].get("required", [])
        for field, schema in schemas[name].get("properties", {}).items():
            if field not in required and "default" in schema:
                _describe(schema)


def _describe(schema: dict[str, Any]) -> None:
    default = schema.pop("default")
    if "$ref" in schema or default in (None, "", [], {}):
        # A model describes its own fields; an empty default means the same as no field.
        return
    said = f"Default: `{json.dumps(default, ensure_ascii=False)}`."
    schema["description"] = f"{schema['description']} {said}" if "description" in schema else said
