# POST /webhooks/{provider} as a shop would write it in Python. Makes the same calls as the Rust webhook-handler for a
# webhook that names its payment, but does not store unmatched webhooks.
import hashlib
import hmac
import json
import os
import re
from decimal import Decimal

from shared import UUID, HttpError, attributes, body_of, check, dynamodb, failed_conditions, now, reply, secret_of, serve, state_key, to_minor, transact

RANKS = {"pending": 1, "authorized": 3, "cancelled": 4, "failed": 5, "completed": 7}
SIGNATURES = {"apolopay": ["x-signature", "x-apolopay-signature"], "finvypay": ["fs-webhook-hash"]}
secrets = {
    "apolopay": secret_of(os.environ["APOLOPAY_SECRET_ID"], rotating=True),
    "finvypay": secret_of(os.environ["FINVYPAY_SECRET_ID"], rotating=True),
}


def is_signed(provider, headers, body):
    signatures = [headers[name] for name in SIGNATURES[provider] if name in headers]
    if not signatures or not all(re.fullmatch("[0-9a-f]{64}", signature) for signature in signatures):
        return False
    keys = [version["webhookSecret"] for version in secrets[provider]() if version.get("webhookSecret")]
    expected = [hmac.new(key.encode(), body, hashlib.sha256).hexdigest() for key in keys]
    return all(any(hmac.compare_digest(valid, signature) for valid in expected) for signature in signatures)


def read(provider, body):
    try:
        webhook = json.loads(body)
    except ValueError:
        raise HttpError(400, "the body is not JSON")
    metadata = webhook.get("metadata") or {}
    id = metadata.get("paymentFunctionsId") or ""
    check(UUID.fullmatch(id), "the body has no id of a payment")
    statuses = [webhook[name] for name in ("status", "event") if name in webhook]
    outcomes = {status.lower().removeprefix("payment.") for status in statuses}
    check(len(outcomes) == 1 and outcomes <= RANKS.keys(), "the body has no known status")
    is_apolopay = provider == "apolopay"
    reference = webhook.get("processId") or webhook.get("id") if is_apolopay else webhook.get("paymentId")
    check(reference, "the body has no provider reference")
    amount = webhook.get("amount")
    fact = {
        "provider": provider,
        "payment": reference.lower() if is_apolopay else reference,
        "orderId": metadata.get("orderId") if is_apolopay else webhook.get("orderId"),
        "outcome": outcomes.pop(),
        "rawStatus": " ".join(statuses),
        "amount": None if amount is None else format(Decimal(str(amount)).normalize(), "f"),
        "currency": None if is_apolopay else (webhook.get("currency") or "").upper() or None,
        "occurredAt": webhook.get("finalizedAt") or webhook.get("completedAt") or webhook.get("timestamp"),
    }
    return id.lower(), fact


def digest_of(fact):
    names = ["provider", "payment", None, "orderId", "outcome", "", "amount", "currency", None, None]
    hash = hashlib.sha256()
    for name in names:
        part = "" if name == "" else fact.get(name)
        hash.update(b"n0:" if part is None else f"s{len(part.encode())}:{part}".encode())
    return hash.hexdigest()


def raise_status(id, fact, moment):
    outcome, reference = fact["outcome"], fact["payment"]
    names = ["status", "rank", "updatedAt", "version", "provider", "references"]
    values = {
        ":status": outcome,
        ":rank": RANKS[outcome],
        ":now": moment,
        ":one": 1,
        ":provider": fact["provider"],
        ":reference0": reference,
    }
    changes = "SET #status = :status, #rank = :rank, #updatedAt = :now, #version = #version + :one"
    conditions = "#provider = :provider AND #rank < :rank AND contains(#references, :reference0)"
    if outcome == "completed":
        names += ["amount", "currency", "captureReferences", "dueQueue", "dueAt"]
        currency = fact["currency"] or "USD"
        check(fact["amount"], "the body has no amount")
        values[":amount"] = to_minor(float(fact["amount"]), currency)
        values[":currency"] = currency
        values[":captureReferences"] = {f"payment:{reference}"}
        changes += " REMOVE #dueQueue, #dueAt ADD #captureReferences :captureReferences"
        conditions += " AND #amount = :amount AND #currency = :currency"
    return {
        "Key": state_key(id),
        "UpdateExpression": changes,
        "ConditionExpression": conditions,
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": attributes(values),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


@serve("webhook-handler")
def handler(event):
    path = re.fullmatch("/webhooks/(apolopay|finvypay)", event["rawPath"])
    if not path:
        raise HttpError(404, "no such path")
    if event["requestContext"]["http"]["method"] != "POST":
        raise HttpError(405, "only POST is allowed here")
    provider, body = path[1], body_of(event)
    if not is_signed(provider, event["headers"], body):
        raise HttpError(401, "the signature is missing, malformed or wrong")

    id, fact = read(provider, body)
    moment = now()
    item = attributes({**fact, "pk": f"PAYMENT#{id}", "sk": f"FACT#{digest_of(fact)}", "receivedAt": moment})
    try:
        transact(
            [
                {"Put": {"Item": item, "ConditionExpression": "attribute_not_exists(pk)"}},
                {"Update": raise_status(id, fact, moment)},
            ]
        )
    except dynamodb.exceptions.TransactionCanceledException as error:
        is_duplicate, needs_slow_path = failed_conditions(error)
        if not is_duplicate:
            if needs_slow_path:
                raise HttpError(409, "the webhook does not match its payment")
            raise
    return reply(200, {"received": True})
