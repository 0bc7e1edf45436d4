"""Checks that openapi.yaml is OpenAPI, and that every example in it is valid against the schema beside it."""

import sys
from pathlib import Path

import jsonschema_rs
import yaml
from openapi_spec_validator import validate

TEXT = Path(__file__).parents[2] / "openapi.yaml"


def media_types(node, path=""):
    """Every object with a schema and examples of it: media types, parameters, headers."""
    if isinstance(node, dict):
        if "schema" in node:
            yield path, node
        for name, child in node.items():
            yield from media_types(child, f"{path}/{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from media_types(child, f"{path}/{index}")


def examples(node):
    if "example" in node:
        yield "example", node["example"]
    for name, example in node.get("examples", {}).items():
        yield name, example["value"]


def main():
    spec = yaml.safe_load(TEXT.read_text())
    validate(spec)
    wrong, count = [], 0
    for path, node in media_types({name: spec[name] for name in ("paths", "components")}):
        schema = {"components": spec["components"], "allOf": [node["schema"]]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for name, value in examples(node):
            count += 1
            wrong += [f"{path}, {name}: {error.message}" for error in validator.iter_errors(value)]
    print("\n".join(wrong) or f"openapi.yaml is valid, and so are its {count} examples")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
