// @ts-check
// How the provider's stand-in replies to the create call: scripts for `/_control/replies`.

/**
 * @typedef {object} Scenario
 * @property {string} value
 * @property {string} label
 * @property {(provider: "apolopay" | "finvypay") => object[]} replies one for each call; then the default
 */

/** @type {Scenario[]} */
export const SCENARIOS = [
  { value: "well", label: "accepts it", replies: () => [] },
  {
    value: "webhookFirst",
    label: "gets paid at once and sends the webhook before its response",
    replies: () => [{ webhookBeforeReply: {} }],
  },
  { value: "slow", label: "responds after two seconds", replies: () => [{ delayMs: 2000 }] },
  {
    value: "busy",
    label: "throttles at first (503), then accepts it",
    replies: () => [{ status: 429, headers: { "retry-after": "2" }, body: {} }],
  },
  { value: "broken", label: "fails at first (502), then accepts it", replies: () => [{ error: "INTERNAL_ERROR" }] },
  { value: "lost", label: "loses its first response (502 or 504), then accepts it", replies: () => [{ drop: "beforeReply" }] },
  {
    value: "refuses",
    label: "refuses it",
    replies: (provider) => [{ error: provider === "apolopay" ? "BAD_REQUEST" : "INVALID_REQUEST" }],
  },
  {
    value: "expired",
    label: "accepts it with an expired page (FinvyPay: expired within two minutes)",
    replies: (provider) =>
      provider === "finvypay" ? [{ fields: { expiresAt: new Date(Date.now() - 3_600_000).toISOString() } }] : [],
  },
];

/**
 * @param {string} value
 * @param {"apolopay" | "finvypay"} provider
 * @param {string} orderId
 */
export async function script(value, provider, orderId) {
  const replies = SCENARIOS.find((scenario) => scenario.value === value)?.replies(provider) ?? [];
  if (replies.length === 0) return;
  const response = await fetch("/_control/replies", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ provider, orderId, replies }),
  });
  if (!response.ok) throw new Error(`the stand-ins refused the script: ${await response.text()}`);
}
