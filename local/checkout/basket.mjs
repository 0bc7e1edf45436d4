// @ts-check
// The state that this browser keeps: the basket, and the attempt to pay for it.
//
// An attempt is saved, with its idempotency key, before anything is sent. A second click, a reload and a reopened browser
// continue the saved attempt, so they never start a second payment.

import { newIdempotencyKey } from "./payments.mjs";

/** Prices in cents of US dollars. */
export const GOODS = [
  { sku: "mug", name: "Enamel mug", about: "Deep green, 0.4 l", cents: 1250 },
  { sku: "tea", name: "Garden tea", about: "Loose leaves, 100 g", cents: 890 },
  { sku: "towel", name: "Linen tea towel", about: "Two stripes", cents: 1195 },
  { sku: "notebook", name: "Notebook", about: "Ruled, 160 pages", cents: 640 },
];

/**
 * @typedef {"smartpay" | "apple_pay" | "google_pay"} Method
 *
 * @typedef {object} Buyer
 * @property {string} firstName
 * @property {string} lastName
 * @property {string} email
 *
 * @typedef {object} Attempt
 * @property {string} orderId
 * @property {string} key the idempotency key
 * @property {Method} method
 * @property {string} amount
 * @property {import("./payments.mjs").Preorder | import("./payments.mjs").ApmPayment} [request] until there is a response:
 *   the same key needs the same request
 * @property {string} [paymentId] once there is a response
 * @property {number} pollSeconds for how many seconds the page polls by itself
 *
 * @typedef {object} Kept
 * @property {Record<string, number>} basket
 * @property {Buyer} buyer
 * @property {Method} method
 * @property {string} order the shop's number for the basket
 * @property {number} attempts the number of attempts to pay for it
 * @property {Attempt} [attempt]
 */

const STORAGE_KEY = "checkout";

/** @returns {Kept} */
function empty() {
  return {
    basket: { mug: 1, tea: 1 },
    buyer: { firstName: "", lastName: "", email: "" },
    method: "smartpay",
    order: newOrder(),
    attempts: 0,
  };
}

function newOrder() {
  const letters = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";
  const random = crypto.getRandomValues(new Uint8Array(8));
  return `ORD-${Array.from(random, (byte) => letters[byte % letters.length]).join("")}`;
}

/** @returns {Kept} */
export function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "null");
    if (typeof kept?.order === "string") return { ...empty(), ...kept };
  } catch {
    // Unreadable state is ignored.
  }
  return empty();
}

/** @param {Kept} kept */
export function save(kept) {
  localStorage.setItem(STORAGE_KEY, JSON.stringify(kept));
}

/** @param {Kept} kept */
export function totalCents({ basket }) {
  return GOODS.reduce((sum, { sku, cents }) => sum + cents * (basket[sku] ?? 0), 0);
}

/**
 * A new attempt. Each attempt has its own order id, since FinvyPay's general webhook has no other id.
 *
 * @param {Kept} kept
 * @param {string} amount
 * @param {number} pollSeconds
 * @returns {Attempt}
 */
export function newAttempt(kept, amount, pollSeconds) {
  kept.attempts += 1;
  const orderId = kept.attempts === 1 ? kept.order : `${kept.order}-${kept.attempts}`;
  return { orderId, key: newIdempotencyKey(), method: kept.method, amount, pollSeconds };
}

/** Starts with a new basket and keeps the buyer. @param {Kept} kept */
export function startOver(kept) {
  return { ...empty(), buyer: kept.buyer, method: kept.method };
}
