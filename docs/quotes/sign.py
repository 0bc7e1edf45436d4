"""Signs a quote, in which the shop's backend sets the price of a payment.

Needs only Python 3.10 or newer.

    QUOTE_KEY=… python sign.py --order-id ORD-9821 --amount 25.50 --currency USD [--expires-in 900]

In a backend: from sign import sign_quote
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
import uuid

# The ISO 4217 currencies without decimals. The functions take at most two decimals in any currency.
WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split()


def sign_quote(key: str, order_id: str, amount: str, currency: str, expires_in: int = 900) -> str:
    """Returns the token that the browser sends as `quote`. It begins one payment: sign another one for each attempt.

    `key` is the secret's `key`, used as it is: 32 bytes or more. `amount` is in major units, as a decimal text
    ("25.50"), since a float would be inexact. `currency` is the ISO 4217 code. A payment may begin within `expires_in`
    seconds.
    """
    if not key:
        raise ValueError("the key is missing: set QUOTE_KEY to the key of the secret")
    if len(key.encode()) < 32:
        raise ValueError("the key must have 32 bytes or more")
    for name, value in {"order_id": order_id, "amount": amount, "currency": currency}.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string")
    decimals = 0 if currency in WITHOUT_DECIMALS else 2
    if not re.fullmatch(r"(?=.*[1-9])(0|[1-9][0-9]{0,8})(\.(?=[0-9])[0-9]{0,%d}0*)?" % decimals, amount):
        raise ValueError(f"amount must be a decimal number above 0 with at most {decimals} decimals")
    claims = {
        "orderId": order_id,
        "amount": amount,
        "currency": currency,
        "exp": int(time.time()) + expires_in,
        # Without it, two quotes of one order that are signed in the same second would be one.
        "jti": str(uuid.uuid4()),
    }
    message = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    signature = hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()
    return f"{message}.{_base64url(signature)}"


def _encode(part: dict) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Signs a quote with the key in QUOTE_KEY.")
    parser.add_argument("--order-id", required=True)
    parser.add_argument("--amount", required=True, help="in major units, such as 25.50")
    parser.add_argument("--currency", required=True, help="an ISO 4217 code, such as USD")
    parser.add_argument("--expires-in", type=int, default=900, metavar="SECONDS")
    given = parser.parse_args()
    try:
        key = os.environ.get("QUOTE_KEY", "")
        print(sign_quote(key, given.order_id, given.amount, given.currency, given.expires_in))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
