"""Checks that openapi.yaml is OpenAPI, that every body in it has an example, and that every example is valid against its schema."""

import sys
from pathlib import Path

import jsonschema_rs
import yaml
from openapi_spec_validator import validate

FILE = Path(__file__).parents[2] / "openapi.yaml"


def described(node, path=""):
    """Everything that has a schema and may have examples: bodies, parameters and headers."""
    if isinstance(node, dict):
        if "schema" in node:
            yield path, node
        for name, child in node.items():
            yield from described(child, f"{path}/{name}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from described(child, f"{path}/{index}")


def examples(node):
    if "example" in node:
        yield "example", node["example"]
    for name, example in node.get("examples", {}).items():
        yield name, example["value"]


def main():
    spec = yaml.safe_load(FILE.read_text())
    validate(spec)
    wrong, count = [], 0
    for path, node in described({name: spec[name] for name in ("paths", "components")}):
        if "/content/" in path and not list(examples(node)):
            wrong.append(f"{path}: no example")
        schema = {"components": spec["components"], "allOf": [node["schema"]]}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        for name, value in examples(node):
            count += 1
            wrong += [f"{path}, {name}: {error.message}" for error in validator.iter_errors(value)]
    print("\n".join(wrong) or f"openapi.yaml is valid, and so are its {count} examples")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
