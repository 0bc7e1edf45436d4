# POST /preorders as a shop would write it in Python: the Rust create-preorder's calls, without its leases, replays, quotes and metrics.
import os

import httpx

from shared import UUID, Refusal, check, intend, is_text, key_of, open_payment, post, read_json, secret_of, serve, settle, to_json, to_minor

NAME = "create-preorder"
URL = os.environ.get("APOLOPAY_BASE_URL", "https://pb-api.apolopay.app") + "/payment-button/process/preorder"
secret = secret_of(os.environ["APOLOPAY_SECRET_ID"])
client = httpx.Client(timeout=15)


@serve(NAME)
def handler(event):
    body = read_json(event)
    amount, metadata = body.get("amount"), body.get("metadata", {})
    minor = to_minor(amount, "USD")
    check(isinstance(metadata, dict) and "paymentFunctionsId" not in metadata, "metadata is wrong")
    order_id = body.get("orderId", metadata.get("orderId"))
    check(order_id is None or is_text(order_id, 128), "orderId is wrong")
    email = body.get("customerEmail", metadata.get("customerEmail"))
    check(email is None or (is_text(email, 254) and "@" in email), "customerEmail is wrong")
    key = key_of(event, NAME)

    secret_key = secret()[0]["secretKey"]
    own = {name: value for name, value in metadata.items() if name != "customerEmail"}
    stored = to_json(own) if own else None
    payment = intend(provider="apolopay", orderId=order_id, amount=minor, currency="USD", metadata=stored)
    open_payment(payment, key)

    added = {"orderId": order_id, "customerEmail": email, "paymentFunctionsId": payment["id"]}
    sent = {**metadata, **{name: value for name, value in added.items() if value is not None}}
    answer = post(client, URL, {"x-secret-key": secret_key}, {"amount": amount, "metadata": sent})
    result = answer.get("result") or {}
    reference = result.get("id") or answer.get("processId") or result.get("processId")
    if not UUID.fullmatch(reference or ""):
        raise Refusal(502, "the payment provider gave no process id")
    return settle(payment, {"reference": reference.lower()}, key)
