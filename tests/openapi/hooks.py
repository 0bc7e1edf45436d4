"""What schemathesis cannot know from openapi.yaml: what this deployment allows, and how a webhook is signed."""

import atexit
import hashlib
import hmac
from collections import Counter

import requests
import schemathesis
from requests.auth import AuthBase

# Seconds: every request is answered within 20. Not in schemathesis.toml, since the local gateway leaves schemathesis' own first request,
# for a path that there is not, without an answer.
TIMEOUT = 40
SECRET = b"whsec_test_secret"
GATEWAY_ERROR = b'{"type":"https://httpstatuses.com/500","status":500,"title":"Internal Server Error"}'
OTHER_SECRET = b"whsec_of_somebody_else"


answers = Counter()


@schemathesis.hook
def after_call(context, case, response):
    answer = f"{response.request.method} {case.operation.path} {response.status_code}"
    if case.operation.label == "GET /payments/{id}" and response.status_code == 200:
        answer += " " + response.json()["status"]
    answers[answer] += 1


@atexit.register
def tell_answers():
    """What the requests led to: tests/it/openapi.rs makes sure that none of it is missing."""
    for answer, count in sorted(answers.items()):
        print(f"{answer} ({count})")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Narrows the description to this deployment, closes the answers, and lets the providers report what was created."""
    schemas = raw_schema["components"]["schemas"]
    schemas["ReturnUrl"]["pattern"] = r"^https://your-domain\.com(/[!-\[\]-~]*)?$"
    schemas["ApmRequest"]["properties"]["paymentMethod"]["enum"] = ["apple_pay", "google_pay"]
    # The providers' stand-ins take one @ only.
    schemas["Email"]["pattern"] = schemas["Email"]["pattern"].replace(r"^[^\s", r"^[^@\s")
    for request in ("PreorderRequest", "ApmRequest"):
        # Quotes are off.
        del schemas[request]["properties"]["quote"]
    # A caller must put up with a member that it does not know, but none may come that is not described.
    for name, schema in schemas.items():
        if name in ("Preorder", "ApmPayment", "Payment", "Received") or schema.get("allOf") == [
            {"$ref": "#/components/schemas/Problem"}
        ]:
            schema["unevaluatedProperties"] = False
    completed = {"amount": "$response.body#/amount", "metadata": {"paymentFunctionsId": "$response.body#/id"}}
    for route, webhook, body in (
        ("/preorders", "/webhooks/apolopay", {"id": "$response.body#/processId", "status": "completed"}),
        (
            "/apm-payments",
            "/webhooks/finvypay",
            {
                "event": "payment.completed",
                "status": "COMPLETED",
                "paymentId": "$response.body#/paymentId",
                "currency": "$response.body#/currency",
            },
        ),
    ):
        received = raw_schema["paths"][webhook]["post"]
        created = raw_schema["paths"][route]["post"]["responses"]["201"]
        created["links"]["paid"] = {"operationId": received["operationId"], "requestBody": body | completed}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives every request an idempotency key of its own, which the same request gets again, and the time that it may take."""
    kwargs["timeout"] = TIMEOUT
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and key:
        request = hashlib.sha256(repr(case.body).encode()).hexdigest()[:16]
        case.headers["Idempotency-Key"] = key[: 255 - len(request)] + request if len(key) <= 255 else key


@schemathesis.hook
def filter_case(context, case):
    """What JSON Schema cannot say: a field that stands on top and in the metadata must be the same."""
    body = case.body
    if case.operation.path != "/preorders" or not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
        return True
    both = [name for name in ("orderId", "customerEmail") if name in body and name in body["metadata"]]
    return all(body[name] == body["metadata"][name] for name in both)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """The local gateway itself answers what it cannot put into an event: bytes that are no text in a header or in a JSON body."""
    if response.status_code != 500 or response.content != GATEWAY_ERROR:
        return True
    request = response.request
    return is_text(request.body) and all(is_text(value, "ascii") for value in request.headers.values())


def is_text(value, encoding="utf-8"):
    try:
        (value or b"").decode(encoding) if isinstance(value, (bytes, type(None))) else value.encode(encoding)
    except UnicodeError:
        return False
    return True


def signature(secret, body):
    return hmac.new(secret, body or b"", hashlib.sha256).hexdigest()


class Signed(AuthBase):
    """Signs the very bytes that are sent, in one of the headers in which the provider may sign."""

    def __init__(self, *headers):
        self.headers = headers

    def __call__(self, request):
        digest = signature(SECRET, request.body)
        request.headers[self.headers[int(digest, 16) % len(self.headers)]] = digest
        return request


APOLOPAY = ("x-signature", "x-apolopay-signature")
FINVYPAY = ("fs-webhook-hash",)
schemathesis.auth.set_from_requests(Signed(*APOLOPAY)).apply_to(path="/webhooks/apolopay")
schemathesis.auth.set_from_requests(Signed(*FINVYPAY)).apply_to(path="/webhooks/finvypay")


@schemathesis.check
def only_the_signed_webhook_is_taken(ctx, response, case):
    """The same request without a signature, and with somebody else's."""
    if not case.operation.path.startswith("/webhooks/") or case.method != "POST" or response.status_code not in (200, 400):
        return
    names = APOLOPAY + FINVYPAY
    plain = {name: value for name, value in response.request.headers.items() if name.lower() not in names}
    signed = [name for name in response.request.headers if name.lower() in names]
    forged = {**plain, **{name: signature(OTHER_SECRET, response.request.body) for name in signed}}
    for headers in (plain, forged):
        again = requests.request(
            response.request.method, response.request.url, data=response.request.body, headers=headers, timeout=TIMEOUT
        )
        assert again.status_code == 401, f"{again.status_code} for a webhook that nobody signed: {again.text}"
