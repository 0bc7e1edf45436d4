// @ts-check
// Money: whole cents inside, decimal strings outside, never floats.

/** @param {number} cents @returns {string} such as "25.50" */
export function decimal(cents) {
  if (!Number.isSafeInteger(cents) || cents < 0) throw new RangeError("cents must be a whole number");
  const rest = cents % 100;
  return `${(cents - rest) / 100}.${String(rest).padStart(2, "0")}`;
}

/** @param {string} amount a decimal string @param {string} currency @returns {string} for humans */
export function readable(amount, currency) {
  const format = new Intl.NumberFormat("en-US", { style: "currency", currency });
  // A string is formatted as an exact decimal.
  return format.format(/** @type {any} */ (amount));
}

/**
 * Whether a decimal string equals an amount in minor units.
 *
 * @param {string} amount
 * @param {number} minor
 * @param {string} currency
 */
export function equalsMinor(amount, minor, currency) {
  const { maximumFractionDigits: digits = 2 } = new Intl.NumberFormat("en-US", { style: "currency", currency }).resolvedOptions();
  const parts = /^(\d+)(?:\.(\d*?)0*)?$/.exec(amount);
  if (!parts) return false;
  const [, whole = "", fraction = ""] = parts;
  if (fraction.length > digits) return false;
  return BigInt(whole + fraction.padEnd(digits, "0")) === BigInt(minor);
}
