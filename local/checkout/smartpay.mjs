// @ts-check
// The switch: who defines <apolopay-button>. docs/frontend.md says what the real one needs.
//
// Unless `make dev` was given SMARTPAY_BUNDLE, it is the stand-in beside this file. The page treats both alike: it gives the
// element its `process-id` and believes the API only.

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
  // The element takes its client as a property, wherever the page puts one.
  new MutationObserver(() => {
    for (const button of document.querySelectorAll("apolopay-button")) {
      if (!("client" in button) || !button.client) Object.assign(button, { client });
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
}
