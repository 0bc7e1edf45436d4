// @ts-check
// Money: whole cents inside, decimal texts outside, never a float.

/** @param {number} cents @returns {string} such as "25.50" */
export function decimal(cents) {
  if (!Number.isSafeInteger(cents) || cents < 0) throw new RangeError("cents are a whole number");
  const rest = cents % 100;
  return `${(cents - rest) / 100}.${String(rest).padStart(2, "0")}`;
}

/** @param {string} amount a decimal text @param {string} currency @returns {string} as people read it */
export function readable(amount, currency) {
  const format = new Intl.NumberFormat("en-US", { style: "currency", currency });
  // Given a text, it formats the decimal itself.
  return format.format(/** @type {any} */ (amount));
}

/**
 * Whether a decimal text is as much as these minor units.
 *
 * @param {string} amount
 * @param {number} minor
 * @param {string} currency
 */
export function isAsMuch(amount, minor, currency) {
  const { maximumFractionDigits: digits = 2 } = new Intl.NumberFormat("en-US", { style: "currency", currency }).resolvedOptions();
  const parts = /^(\d+)(?:\.(\d*?)0*)?$/.exec(amount);
  if (!parts) return false;
  const [, whole = "", fraction = ""] = parts;
  if (fraction.length > digits) return false;
  return BigInt(whole + fraction.padEnd(digits, "0")) === BigInt(minor);
}
