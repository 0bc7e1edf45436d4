// Consumes the events of payment-functions and delivers each order once. Needs only Node 22.16 or newer.
//
// The rule: deliver an order once (without `orderId`, a payment once) when a payment of it has the status `completed`,
// in the environment that the shop sells in, with the order's amount and currency, and its `attention` has neither
// `refunded` nor `chargeback`. It does not matter which payment of the order that is, or which detail-type says so. The
// state of a payment is the event with its highest `version`.
//
// Atomic: handle() stores the payment's state and decides about the order in one transaction. A row of `deliveries` is
// both the mark "this order is delivered" and the task to deliver it. Delete the message from the queue only after
// handle() has returned. After a crash before that, the message comes again and is decided again.
//
// Not atomic: the delivery itself. Deliver from the rows whose `done` is 0, then set it to 1. A crash between these two
// repeats the delivery, so give `key` to whatever delivers as its idempotency key.

import { DatabaseSync } from "node:sqlite";

// `orders` stands for the shop's own orders, stored before a payment begins. `amount` is a decimal text: "25.50".
// `manual_review` lists payments to refund or to check (`paid` = 1: the money came, but this payment delivers nothing),
// and delivered orders whose money went back (`paid` = 0).
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, amount TEXT NOT NULL, currency TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, paid INTEGER NOT NULL, detail TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS deliveries (
    key TEXT PRIMARY KEY, payment TEXT NOT NULL UNIQUE, done INTEGER NOT NULL DEFAULT 0);
  CREATE VIEW IF NOT EXISTS manual_review AS
    SELECT id, paid, detail FROM payments WHERE paid <> EXISTS (SELECT 1 FROM deliveries WHERE payment = payments.id);`;

/** Opens the store. @param {string} path */
export function open(path) {
  const db = new DatabaseSync(path);
  db.exec(`PRAGMA busy_timeout = 5000; ${SCHEMA}`);
  return db;
}

/** Takes one event of the bus. Throws if nothing was stored: then leave the message in the queue. */
export function handle(event, db, environment = "production") {
  const { id, version } = event.detail;
  // Takes the write lock, so that parallel handlers decide one after the other.
  db.exec("BEGIN IMMEDIATE");
  try {
    const store = db.prepare(`INSERT INTO payments (id, version, paid, detail) VALUES (?, ?, ?, ?)
      ON CONFLICT (id) DO UPDATE SET version = excluded.version, paid = excluded.paid, detail = excluded.detail
      WHERE excluded.version > payments.version`);
    store.run(id, version, Number(isPaid(event.detail, environment)), JSON.stringify(event.detail));
    const state = db.prepare("SELECT paid, detail FROM payments WHERE id = ?").get(id);
    const payment = JSON.parse(state.detail);
    if (state.paid && hasTheOrdersMoney(payment, db)) {
      // If another payment has delivered the order, this one is money to give back: see `manual_review`.
      const key = payment.orderId === undefined ? `payment ${id}` : `order ${payment.orderId}`;
      db.prepare("INSERT INTO deliveries (key, payment) VALUES (?, ?) ON CONFLICT DO NOTHING").run(key, id);
    }
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

function isPaid({ status, environment, attention = [] }, shopEnvironment) {
  const wentBack = attention.some(({ reason }) => reason === "refunded" || reason === "chargeback");
  return status === "completed" && environment === shopEnvironment && !wentBack;
}

// Compares what was paid with what the order costs. An unknown order is not delivered.
function hasTheOrdersMoney({ orderId, amount, currency }, db) {
  if (orderId === undefined) return true; // a donation or a top-up: the buyer chose the amount
  const order = db.prepare("SELECT amount, currency FROM orders WHERE id = ?").get(orderId);
  return order !== undefined && Number(order.amount) === amount && order.currency === currency;
}
