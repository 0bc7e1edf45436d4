"""Consumes the events of payment-functions and delivers each order once. Needs only Python 3.10 or newer.

The rule: deliver an order once (without `orderId`, a payment once) when a payment of it has the status `completed`, in
the environment that the shop sells in, with the order's amount and currency, and its `attention` has neither `refunded`
nor `chargeback`. It does not matter which payment of the order that is, or which detail-type says so. The state of a
payment is the event with its highest `version`.

Atomic: handle() stores the payment's state and decides about the order in one transaction. A row of `deliveries` is
both the mark "this order is delivered" and the task to deliver it. Delete the message from the queue only after
handle() has returned. After a crash before that, the message comes again and is decided again.

Not atomic: the delivery itself. Deliver from the rows whose `done` is 0, then set it to 1. A crash between these two
repeats the delivery, so give `key` to whatever delivers as its idempotency key.
"""

import json
import sqlite3
from decimal import Decimal

# `orders` stands for the shop's own orders, stored before a payment begins. `amount` is a decimal text: "25.50".
# `manual_review` lists payments to refund or to check (`paid` = 1: the money came, but this payment delivers nothing),
# and delivered orders whose money went back (`paid` = 0).
SCHEMA = """
  CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, amount TEXT NOT NULL, currency TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, paid INTEGER NOT NULL, detail TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS deliveries (
    key TEXT PRIMARY KEY, payment TEXT NOT NULL UNIQUE, done INTEGER NOT NULL DEFAULT 0);
  CREATE VIEW IF NOT EXISTS manual_review AS
    SELECT id, paid, detail FROM payments WHERE paid <> EXISTS (SELECT 1 FROM deliveries WHERE payment = payments.id);
"""


def open_store(path: str) -> sqlite3.Connection:
    """Opens the store."""
    db = sqlite3.connect(path, timeout=5)
    db.executescript(SCHEMA)
    return db


def handle(event: dict, db: sqlite3.Connection, environment: str = "production") -> None:
    """Takes one event of the bus. Raises if nothing was stored: then leave the message in the queue."""
    detail = event["detail"]
    # One transaction. Its first statement takes the write lock, so that parallel handlers decide one after the other.
    with db:
        db.execute(
            """INSERT INTO payments (id, version, paid, detail) VALUES (?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET version = excluded.version, paid = excluded.paid, detail = excluded.detail
            WHERE excluded.version > payments.version""",
            (detail["id"], detail["version"], _is_paid(detail, environment), json.dumps(detail)),
        )
        paid, stored = db.execute("SELECT paid, detail FROM payments WHERE id = ?", (detail["id"],)).fetchone()
        payment = json.loads(stored)
        if paid and _has_the_orders_money(payment, db):
            # If another payment has delivered the order, this one is money to give back: see `manual_review`.
            key = f"order {payment['orderId']}" if "orderId" in payment else f"payment {payment['id']}"
            row = (key, payment["id"])
            db.execute("INSERT INTO deliveries (key, payment) VALUES (?, ?) ON CONFLICT DO NOTHING", row)


def _is_paid(detail: dict, environment: str) -> bool:
    went_back = any(entry["reason"] in ("refunded", "chargeback") for entry in detail.get("attention", []))
    return detail["status"] == "completed" and detail["environment"] == environment and not went_back


def _has_the_orders_money(payment: dict, db: sqlite3.Connection) -> bool:
    """Compares what was paid with what the order costs. An unknown order is not delivered."""
    if "orderId" not in payment:
        return True  # a donation or a top-up: the buyer chose the amount
    order = db.execute("SELECT amount, currency FROM orders WHERE id = ?", (payment["orderId"],)).fetchone()
    paid = (Decimal(str(payment["amount"])), payment["currency"])
    return order is not None and paid == (Decimal(order[0]), order[1])
