// @ts-check
// What this browser remembers: the basket, and the attempt to pay for it.
//
// An attempt is written down, with its idempotency key, before anything is sent. A second click, a reload and a browser that
// was closed find it and go on with it, so that they never begin a second payment.

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
 * @property {import("./payments.mjs").Preorder | import("./payments.mjs").ApmPayment} [request] until it is answered: the
 *   same key needs the same request
 * @property {string} [paymentId] once it is answered
 * @property {number} patience for how many seconds the page asks by itself
 *
 * @typedef {object} Kept
 * @property {Record<string, number>} basket
 * @property {Buyer} buyer
 * @property {Method} method
 * @property {string} order the shop's number for the basket
 * @property {number} attempts how often it was tried to pay for it
 * @property {Attempt} [attempt]
 */

const PLACE = "checkout";

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
    const kept = JSON.parse(localStorage.getItem(PLACE) ?? "null");
    if (typeof kept?.order === "string") return { ...empty(), ...kept };
  } catch {
    // What cannot be read is as good as nothing.
  }
  return empty();
}

/** @param {Kept} kept */
export function save(kept) {
  localStorage.setItem(PLACE, JSON.stringify(kept));
}

/** @param {Kept} kept */
export function totalCents({ basket }) {
  return GOODS.reduce((sum, { sku, cents }) => sum + cents * (basket[sku] ?? 0), 0);
}

/**
 * A new attempt. It has an order id of its own: FinvyPay's general webhook names nothing but that.
 *
 * @param {Kept} kept
 * @param {string} amount
 * @param {number} patience
 * @returns {Attempt}
 */
export function newAttempt(kept, amount, patience) {
  kept.attempts += 1;
  const orderId = kept.attempts === 1 ? kept.order : `${kept.order}-${kept.attempts}`;
  return { orderId, key: newIdempotencyKey(), method: kept.method, amount, patience };
}

/** @param {Kept} kept the basket is done with; the buyer is remembered */
export function startOver(kept) {
  return { ...empty(), buyer: kept.buyer, method: kept.method };
}
