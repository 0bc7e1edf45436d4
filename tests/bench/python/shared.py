# Code shared by the Python peers. They make the same calls to DynamoDB and Secrets Manager with the same items as the
# Rust functions, so that the bench compares runtimes and not designs.
import base64
import hashlib
import json
import os
import re
import time
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import boto3

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
NO_DECIMALS = set("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split())
THREE_DECIMALS = set("BHD IQD JOD KWD LYD OMR TND".split())
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

TABLE = os.environ["PAYMENTS_TABLE"]
dynamodb = boto3.client("dynamodb")


class HttpError(Exception):
    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


def check(is_valid, detail):
    if not is_valid:
        raise HttpError(422, detail)


def now():
    return time.time_ns() // 1_000_000


def rfc3339(millis):
    time = datetime.fromtimestamp(millis / 1000, timezone.utc)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def reply(status, body, headers=None):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store", **(headers or {})},
        "body": to_json(body),
    }


def serve(name):
    def wrap(handle):
        def handler(event, context):
            error = None
            try:
                response = handle(event)
            except HttpError as caught:
                error, response = caught, reply(caught.status, {"error": str(caught)})
            except Exception as caught:
                error, response = caught, reply(503, {"error": "try again in a moment"})
            line = {
                "timestamp": rfc3339(now()),
                "level": "WARN" if error else "INFO",
                "message": f"{type(error).__name__}: {error}" if error else "request completed",
                "function": name,
                "requestId": context.aws_request_id,
                "status": response["statusCode"],
            }
            print(to_json(line))
            return response

        return handler

    return wrap


def body_of(event):
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def read_json(event):
    try:
        body = json.loads(body_of(event))
    except ValueError:
        raise HttpError(400, "the body is not JSON")
    check(isinstance(body, dict), "the body must be a JSON object")
    return body


def is_text(value, most):
    return isinstance(value, str) and 1 <= len(value) <= most


def decimals_of(currency):
    if currency in NO_DECIMALS:
        return 0
    return 3 if currency in THREE_DECIMALS else 2


def to_minor(amount, currency):
    is_number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
    check(is_number and 0 < amount <= 999_999_999.99, "amount is not valid for the currency")
    decimals, value = decimals_of(currency), Decimal(str(amount))
    check(round(value, min(decimals, 2)) == value, "amount is not valid for the currency")
    return int(value.scaleb(decimals))


def to_major(minor, currency):
    return minor / 10 ** decimals_of(currency)


_secrets_manager = None


def secret_of(id, rotating=False):
    global _secrets_manager
    client = _secrets_manager = _secrets_manager or boto3.client("secretsmanager")
    cache = {"versions": [], "fresh_until": 0}

    def stage(name):
        return client.get_secret_value(SecretId=id, VersionStage=name)

    def get():
        moment = now()
        if moment < cache["fresh_until"]:
            return cache["versions"]
        current = stage("AWSCURRENT")
        fetched = [current]
        if rotating and current["CreatedDate"].timestamp() * 1000 > moment - DAY:
            try:
                fetched.append(stage("AWSPREVIOUS"))
            except client.exceptions.ResourceNotFoundException:
                pass
        cache["versions"] = [json.loads(version["SecretString"]) for version in fetched]
        cache["fresh_until"] = moment + 5 * MINUTE
        return cache["versions"]

    return get


def attributes(values):
    return {name: attribute(value) for name, value in values.items() if value is not None}


def attribute(value):
    if isinstance(value, int):
        return {"N": str(value)}
    if isinstance(value, set):
        return {"SS": list(value)}
    return {"M": attributes(value)} if isinstance(value, dict) else {"S": value}


def transact(steps):
    items = [{kind: {"TableName": TABLE, **fields}} for step in steps for kind, fields in step.items()]
    dynamodb.transact_write_items(TransactItems=items)


def failed_conditions(error):
    return [reason["Code"] == "ConditionalCheckFailed" for reason in error.response.get("CancellationReasons", [])]


def state_key(id):
    return attributes({"pk": f"PAYMENT#{id}", "sk": "STATE"})


def new_payment(**payment):
    return {"id": str(uuid.uuid4()), "status": "creating", "createdAt": now(), **payment}


def key_of(event, name):
    key = event["headers"].get("idempotency-key")
    if key is None:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
        raise HttpError(400, "Idempotency-Key must be 1 to 255 visible ASCII characters")
    return {"pk": f"KEY#{name}#{key}", "fingerprint": hashlib.sha256(body_of(event)).hexdigest()}


def insert_payment(payment, key):
    id, provider, created_at = payment["id"], payment["provider"], payment["createdAt"]
    state = {
        **payment,
        "pk": f"PAYMENT#{id}",
        "sk": "STATE",
        "rank": 0,
        "updatedAt": created_at,
        "version": 1,
        "dueQueue": f"{provider}#{int(id[:2], 16) % 8}",
        "dueAt": created_at + (DAY if provider == "apolopay" else MINUTE),
    }
    steps = [{"Put": {"Item": attributes(state), "ConditionExpression": "attribute_not_exists(pk)"}}]
    if payment.get("orderId"):
        order = {"pk": f"ORDER#{provider}#{payment['orderId']}", "sk": f"PAYMENT#{id}", "paymentId": id}
        order |= {name: payment[name] for name in ("amount", "currency", "createdAt")}
        steps.append({"Put": {"Item": attributes(order)}})
    if key:
        expires_at = created_at + 2 * DAY
        record = {
            "pk": key["pk"],
            "sk": "KEY",
            "fingerprint": key["fingerprint"],
            "paymentId": id,
            "fence": 1,
            "attempt": 1,
            "leaseUntil": created_at + MINUTE // 2,
            "expiresAt": expires_at,
            "ttl": expires_at // 1000,
        }
        steps.append(
            {
                "Put": {
                    "Item": attributes(record),
                    "ConditionExpression": "attribute_not_exists(pk) OR expiresAt <= :now",
                    "ExpressionAttributeValues": attributes({":now": created_at}),
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        )
    try:
        transact(steps)
    except dynamodb.exceptions.TransactionCanceledException as error:
        if any(failed_conditions(error)):
            raise HttpError(409, "the Idempotency-Key is in use")
        raise


def accept_payment(payment, checkout_session, key):
    id, provider, reference = payment["id"], payment["provider"], checkout_session["reference"]
    body = view({**payment, "status": "pending", "checkoutSession": checkout_session})
    changed = {
        "status": "pending",
        "rank": 1,
        "updatedAt": now(),
        "version": 2,
        "references": {reference},
        "checkoutSession": checkout_session,
    }
    steps = [
        {
            "Update": {
                "Key": state_key(id),
                "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in changed),
                "ConditionExpression": "#version = :before",
                "ExpressionAttributeNames": {f"#{name}": name for name in changed},
                "ExpressionAttributeValues": attributes(
                    {":before": 1, **{f":{name}": value for name, value in changed.items()}}
                ),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
        {
            "Put": {
                "Item": attributes({"pk": f"REF#{provider}#{reference}", "sk": "REF", "paymentId": id}),
                "ConditionExpression": "attribute_not_exists(pk) OR paymentId = :id",
                "ExpressionAttributeValues": attributes({":id": id}),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
        {
            "ConditionCheck": {
                "Key": attributes({"pk": f"UNMATCHED#{provider}#{reference}", "sk": "UNMATCHED"}),
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        },
    ]
    if key:
        response = {"status": 201, "body": to_json(body)}
        steps.append(
            {
                "Update": {
                    "Key": attributes({"pk": key["pk"], "sk": "KEY"}),
                    "UpdateExpression": "SET #response = :response",
                    "ConditionExpression": "fence = :fence AND attribute_not_exists(#response)",
                    "ExpressionAttributeNames": {"#response": "response"},
                    "ExpressionAttributeValues": attributes({":response": response, ":fence": 1}),
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            }
        )
    transact(steps)
    return reply(201, body, {"location": f"/payments/{id}"})


def view(payment, is_current=False):
    provider, currency = payment["provider"], payment["currency"]
    session = payment.get("checkoutSession") if payment["status"] in ("creating", "pending") else None
    session = session or {}
    members = {
        "id": payment["id"],
        "provider": provider,
        "status": payment["status"],
        "processId": session.get("reference") if provider == "apolopay" else None,
        "paymentId": session.get("reference") if provider == "finvypay" and not is_current else None,
        "redirectUrl": session.get("redirectUrl"),
        "orderId": payment.get("orderId"),
        "amount": to_major(payment["amount"], currency),
        "currency": currency,
        "paymentMethod": None if is_current else payment.get("paymentMethod"),
        "createdAt": rfc3339(payment["createdAt"]),
        "updatedAt": rfc3339(payment["updatedAt"]) if is_current else None,
        "expiresAt": rfc3339(session["expiresAt"]) if session.get("expiresAt") else None,
    }
    return {name: value for name, value in members.items() if value is not None}


def post(client, url, headers, body):
    try:
        response = client.post(url, headers=headers, json={name: value for name, value in body.items() if value is not None})
        if response.is_success:
            return response.json()
    except Exception:
        pass
    raise HttpError(502, "the payment provider gave no usable response")
