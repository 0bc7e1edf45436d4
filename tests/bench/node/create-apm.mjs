// POST /apm-payments as a shop would write it in Node. Makes the same calls as the Rust create-apm, but has no lease
// takeover, replay, quotes or metrics.
import { HttpError, acceptPayment, check, insertPayment, isObject, isText, keyOf, newPayment, post, readJson, secretOf, serve, toMajor, toMinor } from "./shared.mjs";

const NAME = "create-apm";
const REQUIRED = { orderId: 128, currency: 3, paymentMethod: 64, firstName: 100, lastName: 100, email: 254, returnUrl: 2048 };
const APM = `${process.env.FINVYPAY_BASE_URL ?? "https://api.finvypay.com"}/api/v1/${process.env.FINVYPAY_ENVIRONMENT ?? "sandbox"}/apm`;
const WEBHOOK = `${process.env.WEBHOOK_BASE_URL.replace(/\/+$/, "")}/webhooks/finvypay`;
const origins = process.env.ALLOWED_RETURN_ORIGINS.split(",").map((origin) => new URL(origin.trim()).origin);
const secret = secretOf(process.env.FINVYPAY_SECRET_ID);

function isAllowed(url) {
  return URL.canParse(url) && origins.includes(new URL(url).origin);
}

export const handler = serve(NAME, async (event) => {
  const body = readJson(event);
  for (const [name, most] of Object.entries(REQUIRED)) check(isText(body[name], most), `${name} is invalid`);
  const { orderId, amount, currency, paymentMethod, firstName, lastName, email, returnUrl, cancelUrl } = body;
  const { description, phoneNumber, merchantProfileId, metadata = {} } = body;
  check(/^[A-Z]{3}$/.test(currency), "currency is invalid");
  check(email.includes("@"), "email is invalid");
  check(isAllowed(returnUrl), "returnUrl must be on an allowed origin");
  check(cancelUrl === undefined || isAllowed(cancelUrl), "cancelUrl must be on an allowed origin");
  check(isObject(metadata) && !("paymentFunctionsId" in metadata), "metadata is invalid");
  check(!("webhookUrl" in body), "webhookUrl is set by the server");
  const minor = toMinor(amount, currency);
  const key = keyOf(event, NAME);

  const [{ apiKey }] = await secret();
  const { customerEmail: _, ...own } = metadata;
  const stored = Object.keys(own).length > 0 ? JSON.stringify(own) : undefined;
  const payment = newPayment({ provider: "finvypay", orderId, amount: minor, currency, paymentMethod, metadata: stored });
  await insertPayment(payment, key);

  const headers = { authorization: `Bearer ${apiKey}`, "idempotency-key": `${payment.id}-1` };
  const { success, data } = await post(APM, headers, {
    orderId,
    amount: toMajor(minor, currency),
    currency,
    paymentMethod,
    firstName,
    lastName,
    email,
    returnUrl,
    webhookUrl: WEBHOOK,
    description,
    phoneNumber,
    cancelUrl,
    merchantProfileId,
    metadata: { ...metadata, paymentFunctionsId: payment.id },
  });
  if (success !== true || !isText(data?.paymentId, 256)) throw new HttpError(502, "the payment provider returned no payment id");
  const { paymentId: reference, redirectUrl, expiresAt } = data;
  const checkoutSession = { reference, redirectUrl: redirectUrl ?? undefined, expiresAt: expiresAt ? Date.parse(expiresAt) : undefined };
  return acceptPayment(payment, checkoutSession, key);
});
