// @ts-check
// Defines <apolopay-button>: the real element if `make dev` has SMARTPAY_BUNDLE (docs/frontend.md), otherwise the stand-in.
//
// The page treats both alike: it sets the element's `process-id`, and trusts only the API.

/** @typedef {{ smartPay: { bundle: string, publicKey: string } | null }} Settings */

export async function defineSmartPay() {
  /** @type {Settings} */
  const { smartPay } = await (await fetch("/checkout/settings.json")).json();
  if (!smartPay) {
    await import("./apolopay-button.mjs");
    return;
  }
  const { ApoloPayClient } = await import(smartPay.bundle);
  const client = new ApoloPayClient({ publicKey: smartPay.publicKey });
  // Each element needs its client as a property, wherever the page adds one.
  new MutationObserver(() => {
    for (const button of document.querySelectorAll("apolopay-button")) {
      if (!("client" in button) || !button.client) Object.assign(button, { client });
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
}
