"""Checks that openapi.yaml is valid, that every body has an example, and that every example matches its schema."""

import sys
from pathlib import Path

import jsonschema_rs
import yaml
from openapi_spec_validator import validate

FILE = Path(__file__).parents[2] / "openapi.yaml"


def nodes_with_schema(node, path=""):
    """Yields every node with a schema, which may have examples: bodies, parameters and headers."""
    if isinstance(node, dict):
        if "schema" in node:
            yield path, node
        for name, child in node.items():
            yield from nodes_with_schema(child, f"{path}/{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from nodes_with_schema(child, f"{path}/{index}")


def examples(node):
    if "example" in node:
        yield "example", node["example"]
    for name, example in node.get("examples", {}).items():
        yield name, example["value"]


def main():
    spec = yaml.safe_load(FILE.read_text())
    validate(spec)
    errors, count = [], 0
    for path, node in nodes_with_schema({name: spec[name] for name in ("paths", "components")}):
        if "/content/" in path and not list(examples(node)):
            errors.append(f"{path}: no example")
        schema = {"components": spec["components"], "allOf": [node["schema"]]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for name, value in examples(node):
            count += 1
            errors += [f"{path}, {name}: {error.message}" for error in validator.iter_errors(value)]
    print("\n".join(errors) or f"openapi.yaml and its {count} examples are valid")
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
