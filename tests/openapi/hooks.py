"""Hooks for schemathesis: the configuration of the tested deployment, and the signatures of webhooks."""

import atexit
import hashlib
import hmac
from collections import Counter

import requests
import schemathesis
from requests.auth import AuthBase

# In seconds. Every response comes within 20 seconds. Not set in schemathesis.toml, since the local gateway does not
# respond to schemathesis' own first request, whose path does not exist.
TIMEOUT = 40
SECRET = b"whsec_test_secret"
GATEWAY_ERROR = b'{"type":"https://httpstatuses.com/500","status":500,"title":"Internal Server Error"}'
OTHER_SECRET = b"whsec_of_somebody_else"

responses = Counter()
# By the path of the webhook.
signature_headers = {}


@schemathesis.hook
def after_call(context, case, response):
    line = f"{response.request.method} {case.operation.path} {response.status_code}"
    if case.operation.label == "GET /payments/{id}" and response.status_code == 200:
        line += " " + response.json()["status"]
    responses[line] += 1


@atexit.register
def print_responses():
    """Prints all kinds of responses. tests/it/openapi.rs checks that none is missing."""
    for line, count in sorted(responses.items()):
        print(f"{line} ({count})")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    narrow_requests(raw_schema["components"]["schemas"])
    close_responses(raw_schema["components"]["schemas"])
    note_signature_headers(raw_schema)
    link_webhooks(raw_schema["paths"])


def narrow_requests(schemas):
    """Narrows requests to those that this deployment and the provider sandbox accept."""
    schemas["ReturnUrl"]["pattern"] = r"^https://your-domain\.com(/[!-\[\]-~]*)?$"
    schemas["ApmRequest"]["properties"]["paymentMethod"]["enum"] = ["apple_pay", "google_pay"]
    # Only one @.
    schemas["Email"]["pattern"] = schemas["Email"]["pattern"].replace(r"^[^\s", r"^[^@\s")
    # Quotes are off.
    for request in ("PreorderRequest", "ApmRequest"):
        del schemas[request]["properties"]["quote"]


def close_responses(schemas):
    """Forbids undocumented members in responses, although callers must tolerate them."""
    problem = [{"$ref": "#/components/schemas/Problem"}]
    for name, schema in schemas.items():
        if name in ("Preorder", "ApmPayment", "Payment", "Received") or schema.get("allOf") == problem:
            schema["unevaluatedProperties"] = False


def note_signature_headers(raw_schema):
    schemes = raw_schema["components"]["securitySchemes"]
    for path, item in raw_schema["paths"].items():
        named = [schemes[name] for option in item.get("post", {}).get("security", []) for name in option]
        if headers := [scheme["name"] for scheme in named if scheme["type"] == "apiKey"]:
            signature_headers[path] = headers


def link_webhooks(paths):
    """Links the create operations to webhooks that report the created payment as paid."""
    by_apolopay = {"id": "$response.body#/processId", "status": "completed"}
    by_finvypay = {
        "event": "payment.completed",
        "status": "COMPLETED",
        "paymentId": "$response.body#/paymentId",
        "currency": "$response.body#/currency",
    }
    money = {"amount": "$response.body#/amount", "metadata": {"paymentFunctionsId": "$response.body#/id"}}
    for route, webhook, body in (
        ("/preorders", "/webhooks/apolopay", by_apolopay),
        ("/apm-payments", "/webhooks/finvypay", by_finvypay),
    ):
        links = paths[route]["post"]["responses"]["201"]["links"]
        links["paid"] = {"operationId": paths[webhook]["post"]["operationId"], "requestBody": body | money}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Sets the timeout, and makes the idempotency key depend on the body, so that no key is reused."""
    kwargs["timeout"] = TIMEOUT
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and key:
        request = hashlib.sha256(repr(case.body).encode()).hexdigest()[:16]
        case.headers["Idempotency-Key"] = key[: 255 - len(request)] + request if len(key) <= 255 else key


@schemathesis.hook
def filter_case(context, case):
    """Excludes requests whose body and metadata have different values, which JSON Schema cannot express."""
    body = case.body
    if case.operation.path != "/preorders" or not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
        return True
    both = [name for name in ("orderId", "customerEmail") if name in body and name in body["metadata"]]
    return all(body[name] == body["metadata"][name] for name in both)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Ignores the local gateway's own errors for invalid text in a header or body."""
    if response.status_code != 500 or response.content != GATEWAY_ERROR:
        return True
    body, headers = response.request.body, response.request.headers
    try:
        if isinstance(body, bytes):
            body.decode()
    except UnicodeDecodeError:
        return False
    return all(value.isascii() for value in headers.values())


def signature(secret, body):
    return hmac.new(secret, body or b"", hashlib.sha256).hexdigest()


class Signed(AuthBase):
    """Signs the sent bytes, in one of the path's signature headers in openapi.yaml."""

    def __init__(self, path):
        self.path = path

    def __call__(self, request):
        digest = signature(SECRET, request.body)
        headers = signature_headers[self.path]
        request.headers[headers[int(digest, 16) % len(headers)]] = digest
        return request


for webhook in ("/webhooks/apolopay", "/webhooks/finvypay"):
    schemathesis.auth.set_from_requests(Signed(webhook)).apply_to(path=webhook)


@schemathesis.check
def only_a_signed_webhook_is_accepted(ctx, response, case):
    """Repeats the request without a signature and with a wrong one."""
    names = signature_headers.get(case.operation.path)
    if names is None or response.request.method != "POST" or response.status_code != 200:
        return
    plain = {name: value for name, value in response.request.headers.items() if name.lower() not in names}
    signed = [name for name in response.request.headers if name.lower() in names]
    forged = {**plain, **{name: signature(OTHER_SECRET, response.request.body) for name in signed}}
    for headers in (plain, forged):
        again = requests.request(
            response.request.method, response.request.url, data=response.request.body, headers=headers, timeout=TIMEOUT
        )
        assert again.status_code == 401, f"{again.status_code} for a webhook without a valid signature: {again.text}"
