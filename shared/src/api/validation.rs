//! Validation of a request's fields. All invalid fields are reported at once.

use std::borrow::Cow;

use crate::api::problem::{FieldError, Problem};
use crate::domain::decimal::Decimal;
use crate::domain::json::{Json, Object};
use crate::domain::money::{AmountError, Currency, Money};

/// Why a field is invalid: a predicate of it, such as "is required".
pub type FieldProblem = Cow<'static, str>;

/// Reads the members of an object and collects the invalid ones.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Object,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of a body.
    ///
    /// # Errors
    /// 422 with the pointer `""` if the body is not an object.
    pub fn of(body: &'a Json) -> Result<Self, Problem> {
        let whole = || {
            vec![FieldError {
                pointer: String::new(),
                detail: "must be a JSON object".into(),
            }]
        };
        let object = body.as_object().ok_or_else(|| Problem::validation_failed(whole()))?;
        Ok(Self {
            object,
            known: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Reads a required field.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Json) -> Result<T, FieldProblem>,
    ) -> Option<T> {
        if self.object.get(name).is_none() {
            self.known.push(name);
            self.wrong(&[name], "is required");
            return None;
        }
        self.optional(name, read)
    }

    /// Reads an optional field. `null` is invalid.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Json) -> Result<T, FieldProblem>,
    ) -> Option<T> {
        self.known.push(name);
        let value = self.object.get(name)?;
        let value = if *value == Json::Null {
            Err("must not be null; leave it out".into())
        } else {
            read(value)
        };
        value.map_err(|problem| self.wrong(&[name], problem)).ok()
    }

    /// Rejects a field that callers must not set.
    pub fn forbidden(&mut self, name: &'static str, problem: &'static str) {
        self.known.push(name);
        if self.object.get(name).is_some() {
            self.wrong(&[name], problem);
        }
    }

    /// Records that the value at `path` is invalid.
    pub fn wrong(&mut self, path: &[&str], detail: impl Into<FieldProblem>) {
        let pointer = path
            .iter()
            .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")))
            .collect();
        self.errors.push(FieldError {
            pointer,
            detail: detail.into(),
        });
    }

    /// Returns `value` if no field is invalid or unknown.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        let unknown: Vec<&str> = self
            .object
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !self.known.contains(name))
            .collect();
        for name in unknown {
            self.wrong(&[name], "is not a field of this request");
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::validation_failed(self.errors)),
        }
    }
}

/// Reads a number exactly, without floating point.
///
/// # Errors
/// If it is not a number.
pub fn number(value: &Json) -> Result<Decimal, FieldProblem> {
    match value {
        Json::Number(text) => Decimal::parse(text).ok_or_else(|| "must be a number".into()),
        Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {
            Err("must be a number".into())
        }
    }
}

/// Reads an amount in major units. Without a `currency`, because the currency itself is invalid, it is checked as an
/// amount in USD: the request is refused anyway.
///
/// # Errors
/// If it is not a number, or not an amount of the currency.
pub fn money(value: &Json, currency: Option<Currency>) -> Result<Money, FieldProblem> {
    let currency = currency.unwrap_or(Currency::USD);
    Money::from_major(&number(value)?, currency).map_err(|error| match error {
        AmountError::TooManyDecimals(decimals) => format!("must have at most {decimals} decimals in {currency}").into(),
        AmountError::NotPositive | AmountError::TooLarge => error.to_string().into(),
    })
}

/// Reads a string of 1 to `max` characters without control characters.
///
/// # Errors
/// If it is anything else.
pub fn text(value: &Json, max: usize) -> Result<&str, FieldProblem> {
    let text = value.as_str().ok_or("must be a string")?;
    if !(1..=max).contains(&text.chars().count()) {
        return Err(format!("must have 1 to {max} characters").into());
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".into());
    }
    Ok(text)
}

/// Reads an e-mail address of at most 254 characters. The check is loose: it accepts every address that a browser
/// accepts.
///
/// # Errors
/// If it is not an e-mail address.
pub fn email(value: &Json) -> Result<&str, FieldProblem> {
    let address = text(value, 254)?;
    let is_address = address
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if is_address && !address.contains(char::is_whitespace) {
        Ok(address)
    } else {
        Err("must be an e-mail address".into())
    }
}

/// Reads an object.
///
/// # Errors
/// If it is not an object.
pub fn object(value: &Json) -> Result<&Object, FieldProblem> {
    value.as_object().ok_or_else(|| "must be an object".into())
}
