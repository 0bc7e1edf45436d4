# POST /apm-payments as a shop would write it in Python. Makes the same calls as the Rust create-apm, but has no lease
# takeover, replay, quotes or metrics.
import os
import re
from datetime import datetime
from urllib.parse import urlsplit

import httpx

from shared import HttpError, accept_payment, check, insert_payment, is_text, key_of, new_payment, post, read_json, secret_of, serve, to_json, to_major, to_minor

NAME = "create-apm"
REQUIRED = {"orderId": 128, "currency": 3, "paymentMethod": 64, "firstName": 100, "lastName": 100, "email": 254, "returnUrl": 2048}
OPTIONAL = ("description", "phoneNumber", "cancelUrl", "merchantProfileId")
BASE = os.environ.get("FINVYPAY_BASE_URL", "https://api.finvypay.com")
URL = f"{BASE}/api/v1/{os.environ.get('FINVYPAY_ENVIRONMENT', 'sandbox')}/apm"
WEBHOOK = os.environ["WEBHOOK_BASE_URL"].rstrip("/") + "/webhooks/finvypay"
origins = {origin.strip() for origin in os.environ["ALLOWED_RETURN_ORIGINS"].split(",")}
secret = secret_of(os.environ["FINVYPAY_SECRET_ID"])
client = httpx.Client(timeout=15)


def is_allowed(url):
    try:
        parts = urlsplit(url)
    except (ValueError, AttributeError):
        return False
    return f"{parts.scheme}://{parts.netloc}" in origins


@serve(NAME)
def handler(event):
    body = read_json(event)
    for name, most in REQUIRED.items():
        check(is_text(body.get(name), most), f"{name} is invalid")
    currency, metadata = body["currency"], body.get("metadata", {})
    check(re.fullmatch("[A-Z]{3}", currency), "currency is invalid")
    check("@" in body["email"], "email is invalid")
    check(is_allowed(body["returnUrl"]), "returnUrl must be on an allowed origin")
    check("cancelUrl" not in body or is_allowed(body["cancelUrl"]), "cancelUrl must be on an allowed origin")
    check(isinstance(metadata, dict) and "paymentFunctionsId" not in metadata, "metadata is invalid")
    check("webhookUrl" not in body, "webhookUrl is set by the server")
    minor = to_minor(body.get("amount"), currency)
    key = key_of(event, NAME)

    api_key = secret()[0]["apiKey"]
    own = {name: value for name, value in metadata.items() if name != "customerEmail"}
    payment = new_payment(
        provider="finvypay",
        orderId=body["orderId"],
        amount=minor,
        currency=currency,
        paymentMethod=body["paymentMethod"],
        metadata=to_json(own) if own else None,
    )
    insert_payment(payment, key)

    headers = {"authorization": f"Bearer {api_key}", "idempotency-key": f"{payment['id']}-1"}
    request = {
        **{name: body.get(name) for name in (*REQUIRED, *OPTIONAL)},
        "amount": to_major(minor, currency),
        "webhookUrl": WEBHOOK,
        "metadata": {**metadata, "paymentFunctionsId": payment["id"]},
    }
    response = post(client, URL, headers, request)
    data = response.get("data") or {}
    if response.get("success") is not True or not is_text(data.get("paymentId"), 256):
        raise HttpError(502, "the payment provider returned no payment id")
    expires_at = data.get("expiresAt")
    checkout_session = {
        "reference": data["paymentId"],
        "redirectUrl": data.get("redirectUrl"),
        "expiresAt": int(datetime.fromisoformat(expires_at).timestamp() * 1000) if expires_at else None,
    }
    return accept_payment(payment, checkout_session, key)
