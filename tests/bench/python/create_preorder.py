# POST /preorders as a shop would write it in Python. Makes the same calls as the Rust create-preorder, but has no lease
# takeover, replay, quotes or metrics.
import os

import httpx

from shared import UUID, HttpError, accept_payment, check, insert_payment, is_text, key_of, new_payment, post, read_json, secret_of, serve, to_json, to_minor

NAME = "create-preorder"
URL = os.environ.get("APOLOPAY_BASE_URL", "https://pb-api.apolopay.app") + "/payment-button/process/preorder"
secret = secret_of(os.environ["APOLOPAY_SECRET_ID"])
client = httpx.Client(timeout=15)


@serve(NAME)
def handler(event):
    body = read_json(event)
    amount, metadata = body.get("amount"), body.get("metadata", {})
    minor = to_minor(amount, "USD")
    check(isinstance(metadata, dict) and "paymentFunctionsId" not in metadata, "metadata is invalid")
    order_id = body.get("orderId", metadata.get("orderId"))
    check(order_id is None or is_text(order_id, 128), "orderId is invalid")
    email = body.get("customerEmail", metadata.get("customerEmail"))
    check(email is None or (is_text(email, 254) and "@" in email), "customerEmail is invalid")
    key = key_of(event, NAME)

    secret_key = secret()[0]["secretKey"]
    own = {name: value for name, value in metadata.items() if name != "customerEmail"}
    stored = to_json(own) if own else None
    payment = new_payment(provider="apolopay", orderId=order_id, amount=minor, currency="USD", metadata=stored)
    insert_payment(payment, key)

    added = {"orderId": order_id, "customerEmail": email, "paymentFunctionsId": payment["id"]}
    provider_metadata = {**metadata, **{name: value for name, value in added.items() if value is not None}}
    response = post(client, URL, {"x-secret-key": secret_key}, {"amount": amount, "metadata": provider_metadata})
    result = response.get("result") or {}
    reference = result.get("id") or response.get("processId") or result.get("processId")
    if not UUID.fullmatch(reference or ""):
        raise HttpError(502, "the payment provider returned no process id")
    return accept_payment(payment, {"reference": reference.lower()}, key)
