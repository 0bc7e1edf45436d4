// @ts-check
// What the stand-in of the provider does when it is asked for the payment: scripts for `/_control/replies`.

/**
 * @typedef {object} Scenario
 * @property {string} value
 * @property {string} label
 * @property {(provider: "apolopay" | "finvypay") => object[]} replies one for each call, then it answers as it should
 */

/** @type {Scenario[]} */
export const SCENARIOS = [
  { value: "well", label: "it answers as it should", replies: () => [] },
  {
    value: "webhookFirst",
    label: "it is paid at once, and the webhook comes before the answer",
    replies: () => [{ webhookBeforeReply: {} }],
  },
  { value: "slow", label: "it answers after two seconds", replies: () => [{ delayMs: 2000 }] },
  {
    value: "busy",
    label: "it is over its limit at first (503, then well)",
    replies: () => [{ status: 429, headers: { "retry-after": "2" }, body: {} }],
  },
  { value: "broken", label: "it fails at first (502, then well)", replies: () => [{ error: "INTERNAL_ERROR" }] },
  { value: "lost", label: "its answer is lost at first (502 or 504, then well)", replies: () => [{ drop: "beforeReply" }] },
  {
    value: "refuses",
    label: "it refuses the payment",
    replies: (provider) => [{ error: provider === "apolopay" ? "BAD_REQUEST" : "INVALID_REQUEST" }],
  },
  {
    value: "runOut",
    label: "its page has run out already (FinvyPay: expired within two minutes)",
    replies: (provider) =>
      provider === "finvypay" ? [{ fields: { expiresAt: new Date(Date.now() - 3_600_000).toISOString() } }] : [],
  },
];

/**
 * @param {string} value
 * @param {"apolopay" | "finvypay"} provider
 * @param {string} orderId
 */
export async function arrange(value, provider, orderId) {
  const replies = SCENARIOS.find((scenario) => scenario.value === value)?.replies(provider) ?? [];
  if (replies.length === 0) return;
  const response = await fetch("/_control/replies", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ provider, orderId, replies }),
  });
  if (!response.ok) throw new Error(`the stand-ins refused the script: ${await response.text()}`);
}
