// POST /preorders as a shop would write it in Node. Makes the same calls as the Rust create-preorder, but has no lease
// takeover, replay, quotes or metrics.
import { HttpError, UUID, acceptPayment, check, insertPayment, isObject, isText, keyOf, newPayment, post, readJson, secretOf, serve, toMinor } from "./shared.mjs";

const NAME = "create-preorder";
const PREORDER = `${process.env.APOLOPAY_BASE_URL ?? "https://pb-api.apolopay.app"}/payment-button/process/preorder`;
const secret = secretOf(process.env.APOLOPAY_SECRET_ID);

export const handler = serve(NAME, async (event) => {
  const { amount, orderId: given, customerEmail, metadata = {} } = readJson(event);
  const minor = toMinor(amount, "USD");
  check(isObject(metadata) && !("paymentFunctionsId" in metadata), "metadata is invalid");
  const orderId = given ?? metadata.orderId;
  check(orderId === undefined || isText(orderId, 128), "orderId is invalid");
  check(customerEmail === undefined || (isText(customerEmail, 254) && customerEmail.includes("@")), "customerEmail is invalid");
  const key = keyOf(event, NAME);

  const [{ secretKey }] = await secret();
  const { customerEmail: _, ...own } = metadata;
  const stored = Object.keys(own).length > 0 ? JSON.stringify(own) : undefined;
  const payment = newPayment({ provider: "apolopay", orderId, amount: minor, currency: "USD", metadata: stored });
  await insertPayment(payment, key);

  const providerMetadata = { ...metadata, orderId, customerEmail: customerEmail ?? metadata.customerEmail, paymentFunctionsId: payment.id };
  const { result, processId } = await post(PREORDER, { "x-secret-key": secretKey }, { amount, metadata: providerMetadata });
  const reference = result?.id ?? processId ?? result?.processId;
  if (!UUID.test(reference)) throw new HttpError(502, "the payment provider returned no process id");
  return acceptPayment(payment, { reference: reference.toLowerCase() }, key);
});
