//! Decimal numbers written out digit by digit: a slow and simple implementation to compare with.

/// A number without leading and trailing zeros, so that equal numbers have equal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub negative: bool,
    pub integer: String,
    pub fraction: String,
}

/// Whether a text is a JSON number, according to serde_json.
pub fn is_number(text: &str) -> bool {
    let raw = serde_json::from_str::<&serde_json::value::RawValue>(text);
    raw.is_ok_and(|raw| raw.get() == text) && text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Writes out a JSON number. `None` if its exponent is too large.
pub fn write_out(number: &str) -> Option<Written> {
    let (negative, unsigned) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let shift = if is_zero {
        0
    } else {
        exponent.parse::<i32>().ok().filter(|shift| shift.abs() <= 400)?
    };
    let (mut integer, mut fraction) = (integer.to_owned(), fraction.to_owned());
    for _ in 0..shift {
        let next = if fraction.is_empty() { '0' } else { fraction.remove(0) };
        integer.push(next);
    }
    for _ in shift..0 {
        fraction.insert(0, integer.pop().unwrap_or('0'));
    }
    Some(Written {
        negative: negative && !is_zero,
        integer: integer.trim_start_matches('0').to_owned(),
        fraction: fraction.trim_end_matches('0').to_owned(),
    })
}

impl Written {
    /// The amount in minor units of a currency with `decimals` decimals. `None` if it is not a valid amount.
    pub fn minor(&self, decimals: usize) -> Option<u64> {
        let is_zero = self.integer.is_empty() && self.fraction.is_empty();
        if self.negative || is_zero || self.integer.len() > 9 || self.fraction.len() > decimals.min(2) {
            return None;
        }
        format!("{}{:0<decimals$}", self.integer, self.fraction).parse().ok()
    }
}

/// The amount of a JSON number in minor units. `None` if it is not a valid amount.
pub fn minor(number: &str, decimals: u32) -> Option<u64> {
    write_out(number)?.minor(usize::try_from(decimals).ok()?)
}
