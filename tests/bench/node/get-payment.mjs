// GET /payments/{id} as a shop would write it in Node: the Rust get-payment's one strongly consistent read.
import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import { Refusal, UUID, dynamodb, reply, serve, stateKey, table, view } from "./shared.mjs";

export const handler = serve("get-payment", async (event) => {
  const id = event.pathParameters?.id;
  const isId = id !== undefined && UUID.test(id);
  const { Item: item } = isId
    ? await dynamodb.send(new GetItemCommand({ TableName: table, Key: stateKey(id.toLowerCase()), ConsistentRead: true }))
    : {};
  if (!item) throw new Refusal(404, "there is no payment with this id");
  const handoff = item.handoff?.M;
  const payment = {
    id: item.id.S,
    provider: item.provider.S,
    status: item.status.S,
    orderId: item.orderId?.S,
    amount: Number(item.amount.N),
    currency: item.currency.S,
    createdAt: Number(item.createdAt.N),
    updatedAt: Number(item.updatedAt.N),
    handoff: handoff && {
      reference: handoff.reference.S,
      redirectUrl: handoff.redirectUrl?.S,
      expiresAt: handoff.expiresAt && Number(handoff.expiresAt.N),
    },
  };
  return reply(200, view(payment, true));
});
