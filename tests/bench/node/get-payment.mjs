// GET /payments/{id} as a shop would write it in Node: one strongly consistent read, as in the Rust get-payment.
import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import { HttpError, UUID, dynamodb, reply, serve, stateKey, table, view } from "./shared.mjs";

export const handler = serve("get-payment", async (event) => {
  const id = event.pathParameters?.id;
  const isId = id !== undefined && UUID.test(id);
  const { Item: item } = isId
    ? await dynamodb.send(new GetItemCommand({ TableName: table, Key: stateKey(id.toLowerCase()), ConsistentRead: true }))
    : {};
  if (!item) throw new HttpError(404, "there is no payment with this id");
  const session = item.checkoutSession?.M;
  const payment = {
    id: item.id.S,
    provider: item.provider.S,
    status: item.status.S,
    orderId: item.orderId?.S,
    amount: Number(item.amount.N),
    currency: item.currency.S,
    createdAt: Number(item.createdAt.N),
    updatedAt: Number(item.updatedAt.N),
    checkoutSession: session && {
      reference: session.reference.S,
      redirectUrl: session.redirectUrl?.S,
      expiresAt: session.expiresAt && Number(session.expiresAt.N),
    },
  };
  return reply(200, view(payment, true));
});
