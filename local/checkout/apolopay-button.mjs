// @ts-check
// The stand-in for ApoloPay's element: the same name and attribute, and a dialog in which you play the buyer.

import { element } from "./dom.mjs";

const OUTCOMES = [
  ["pay", "Send the money"],
  ["payWrongAmount", "Send the wrong amount (1)"],
  ["fail", "Let it fail"],
  ["cancel", "Cancel"],
  ["leave", "Let it expire"],
];

class StandInButton extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount > 0) return;
    const dialog = /** @type {HTMLDialogElement} */ (element("dialog", { "aria-labelledby": "smartpay-title" }));
    dialog.append(this.#form(dialog));
    this.append(
      element("button", { type: "button", class: "primary", onclick: () => dialog.showModal() }, "Pay with SmartPay"),
      dialog,
    );
  }

  /** @param {HTMLDialogElement} dialog */
  #form(dialog) {
    const problem = element("p", { role: "alert", class: "wrong" });
    const form = /** @type {HTMLFormElement} */ (
      element(
        "form",
        { method: "dialog" },
        element("h2", { id: "smartpay-title" }, "SmartPay"),
        element("p", { class: "hint" }, "A stand-in: no money moves. You play the buyer and ApoloPay."),
        select("asset", "Asset", [["USDT", "USDT – Tether USD"]]),
        select("network", "Network", [["apolopay", "ApoloPay"], ["tron", "Tron"], ["polygon", "Polygon"]]),
        select("webhook", "ApoloPay's webhook comes", [
          ["atOnce", "at once"],
          ["late", "after two seconds"],
          ["twice", "twice"],
          ["never", "never"],
        ]),
        select("shape", "in the shape", [["A", "observed in production"], ["B", "documented"]]),
        element(
          "p",
          { class: "actions" },
          ...OUTCOMES.map(([value, text], at) =>
            element("button", { type: "submit", name: "outcome", value: value ?? "", class: at === 0 ? "primary" : "" }, text ?? ""),
          ),
        ),
        element(
          "p",
          { class: "hint" },
          "ApoloPay is only known to report completions. Any other status is stored as a fact and changes nothing.",
        ),
        problem,
      )
    );
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const data = new FormData(form, /** @type {SubmitEvent} */ (event).submitter);
      const fields = new URLSearchParams();
      for (const name of ["outcome", "webhook", "shape"]) fields.set(name, String(data.get(name)));
      const id = encodeURIComponent(this.getAttribute("process-id") ?? "");
      const response = await fetch(`/apolopay/pay/${id}`, { method: "POST", body: fields });
      problem.textContent = response.ok ? "" : await response.text();
      if (response.ok) dialog.close();
    });
    return form;
  }
}

/**
 * @param {string} name
 * @param {string} label
 * @param {string[][]} choices
 */
function select(name, label, choices) {
  const id = `smartpay-${name}`;
  return element(
    "p",
    { class: "field" },
    element("label", { for: id }, label),
    element("select", { id, name }, ...choices.map(([value, text]) => element("option", { value: value ?? "" }, text ?? ""))),
  );
}

customElements.define("apolopay-button", StandInButton);
