// Signs a quote, in which the shop's backend sets the price of a payment. Needs only Node 18.3 or newer.
//
//   QUOTE_KEY=… node sign.mjs --order-id ORD-9821 --amount 25.50 --currency USD [--expires-in 900]
//
// In a backend: import { signQuote } from "./sign.mjs";

import { createHmac, randomUUID } from "node:crypto";
import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

/** The ISO 4217 currencies without decimals. The functions take at most two decimals in any currency. */
const WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" ");

/**
 * Returns the token that the browser sends as `quote`. It begins one payment: sign another one for each attempt.
 *
 * @param {string} key the secret's `key`, used as it is: 32 bytes or more
 * @param {{ orderId: string, amount: string, currency: string }} payment
 *   the amount in major units, as a decimal text ("25.50"), since a float would be inexact; the ISO 4217 currency code
 * @param {number} expiresIn the number of seconds in which a payment may begin
 * @returns {string}
 */
export function signQuote(key, { orderId, amount, currency }, expiresIn = 900) {
  if (!key) throw new TypeError("the key is missing: set QUOTE_KEY to the key of the secret");
  if (typeof key !== "string" || Buffer.byteLength(key) < 32) {
    throw new TypeError("the key must have 32 bytes or more");
  }
  for (const [name, value] of Object.entries({ orderId, amount, currency })) {
    if (typeof value !== "string") throw new TypeError(`${name} must be a string`);
  }
  const decimals = WITHOUT_DECIMALS.includes(currency) ? 0 : 2;
  const valid = new RegExp(`^(?=.*[1-9])(0|[1-9][0-9]{0,8})(\\.(?=[0-9])[0-9]{0,${decimals}}0*)?$`);
  if (!valid.test(amount)) {
    throw new TypeError(`amount must be a decimal number above 0 with at most ${decimals} decimals`);
  }
  const exp = Math.floor(Date.now() / 1000) + expiresIn;
  // Without it, two quotes of one order that are signed in the same second would be one.
  const jti = randomUUID();
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const message = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ orderId, amount, currency, exp, jti })}`;
  return `${message}.${createHmac("sha256", key).update(message).digest("base64url")}`;
}

function main() {
  const usage = "usage: QUOTE_KEY=… node sign.mjs --order-id ID --amount 25.50 --currency USD [--expires-in SECONDS]";
  try {
    const { values } = parseArgs({
      options: {
        "order-id": { type: "string" },
        amount: { type: "string" },
        currency: { type: "string" },
        "expires-in": { type: "string", default: "900" },
      },
    });
    const expiresIn = Number(values["expires-in"]);
    if (!Number.isInteger(expiresIn)) throw new TypeError("expires-in must be a whole number of seconds");
    const payment = { orderId: values["order-id"], amount: values.amount, currency: values.currency };
    console.log(signQuote(process.env.QUOTE_KEY, payment, expiresIn));
  } catch (error) {
    console.error(`${error.message}\n${usage}`);
    process.exitCode = 2;
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) main();
