// POST /preorders as a shop would write it in Node: the Rust create-preorder's calls, without its leases, replays, quotes and metrics.
import { UUID, Refusal, check, intend, isObject, isText, keyOf, open, post, readJson, secretOf, serve, settle, toMinor } from "./shared.mjs";

const NAME = "create-preorder";
const PREORDER = `${process.env.APOLOPAY_BASE_URL ?? "https://pb-api.apolopay.app"}/payment-button/process/preorder`;
const secret = secretOf(process.env.APOLOPAY_SECRET_ID);

export const handler = serve(NAME, async (event) => {
  const { amount, orderId: given, customerEmail, metadata = {} } = readJson(event);
  const minor = toMinor(amount, "USD");
  check(isObject(metadata) && !("paymentFunctionsId" in metadata), "metadata is wrong");
  const orderId = given ?? metadata.orderId;
  check(orderId === undefined || isText(orderId, 128), "orderId is wrong");
  check(customerEmail === undefined || (isText(customerEmail, 254) && customerEmail.includes("@")), "customerEmail is wrong");
  const key = keyOf(event, NAME);

  const [{ secretKey }] = await secret();
  const { customerEmail: _, ...own } = metadata;
  const stored = Object.keys(own).length > 0 ? JSON.stringify(own) : undefined;
  const payment = intend({ provider: "apolopay", orderId, amount: minor, currency: "USD", metadata: stored });
  await open(payment, key);

  const sent = { ...metadata, orderId, customerEmail: customerEmail ?? metadata.customerEmail, paymentFunctionsId: payment.id };
  const { result, processId } = await post(PREORDER, { "x-secret-key": secretKey }, { amount, metadata: sent });
  const reference = result?.id ?? processId ?? result?.processId;
  if (!UUID.test(reference)) throw new Refusal(502, "the payment provider gave no process id");
  return settle(payment, { reference: reference.toLowerCase() }, key);
});
