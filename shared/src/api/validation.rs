//! Validation of a request's fields. All invalid fields are reported at once.

use std::borrow::Cow;

use crate::api::problem::{FieldError, MAX_ERRORS, Problem};
use crate::api::request::RequestBody;
use crate::api::response;
use crate::domain::decimal::Decimal;
use crate::domain::json::{self, Json, Object};
use crate::domain::money::{AmountError, Currency, Money};

/// Why a field is invalid: a predicate of it, such as "is required".
pub type FieldProblem = Cow<'static, str>;

/// Maximum length of a pointer in a response, in bytes of JSON. Names in the body can be almost as long as the body.
const MAX_POINTER: usize = 256;

/// Brings an object into the form that is validated, compared and sent on: cuts off the outer blanks of the e-mail
/// address in the member `email`, and removes each member of `optional_texts` that is `""`, such as a form's blank
/// field.
pub fn normalise(object: &mut Object, email: &str, optional_texts: &[&str]) {
    let address = object.str(email).map(str::to_owned).unwrap_or_default();
    let trimmed = address.trim_matches(is_blank);
    if trimmed != address {
        object.set(email, Json::String(trimmed.to_owned()));
    }
    for name in optional_texts {
        if object.str(name) == Some("") {
            object.remove(name);
        }
    }
}

/// Whether a character is a blank. Control characters such as tabs are not: they are invalid everywhere.
fn is_blank(char: char) -> bool {
    char.is_whitespace() && !char.is_control()
}

/// Reads the members of an object and collects the invalid ones.
#[derive(Debug)]
pub struct Fields<'a> {
    object: &'a Object,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of a body. Its lone surrogates are recorded as invalid.
    ///
    /// # Errors
    /// 422 with the pointer `""` if the body is not an object.
    pub fn of(body: &'a RequestBody) -> Result<Self, Problem> {
        let whole = || {
            vec![FieldError {
                pointer: String::new(),
                detail: "must be a JSON object".into(),
            }]
        };
        let object = body.json.as_object();
        let mut fields = Self {
            object: object.ok_or_else(|| Problem::validation_failed(whole()))?,
            known: Vec::new(),
            errors: Vec::new(),
        };
        for pointer in body.lone_surrogates.expose() {
            fields.wrong_at(pointer, "must not have a lone surrogate");
        }
        Ok(fields)
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
        let mut pointer = String::new();
        path.iter().for_each(|name| json::push_pointer(&mut pointer, name));
        self.wrong_at(&pointer, detail);
    }

    /// Records that the value at a JSON pointer is invalid. A pointer that is too long to show is replaced by that of
    /// the nearest enclosing value. Ignores what a response would not show anyway.
    pub fn wrong_at(&mut self, pointer: &str, detail: impl Into<FieldProblem>) {
        if self.errors.len() > MAX_ERRORS {
            return;
        }
        let is_short = |pointer: &str| response::to_json(&pointer).len() <= MAX_POINTER;
        let error = if is_short(pointer) {
            FieldError {
                pointer: pointer.to_owned(),
                detail: detail.into(),
            }
        } else {
            let mut enclosing = pointer;
            while !is_short(enclosing) {
                enclosing = enclosing.rsplit_once('/').map_or("", |(enclosing, _)| enclosing);
            }
            FieldError {
                pointer: enclosing.to_owned(),
                detail: format!(
                    "contains a value whose path is too long to show, which {}",
                    detail.into()
                )
                .into(),
            }
        };
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Whether the value at a JSON pointer has already been recorded as invalid.
    pub fn is_wrong(&self, pointer: &str) -> bool {
        self.errors.iter().any(|error| error.pointer == pointer)
    }

    /// Returns `value` if no field is invalid or unknown.
    ///
    /// # Errors
    /// 422 with every invalid field.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        for (name, _) in self.object.iter() {
            let mut pointer = String::new();
            json::push_pointer(&mut pointer, name);
            if !self.known.contains(&name) && !self.is_wrong(&pointer) {
                self.wrong_at(&pointer, "is not a field of this request");
            }
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

/// Reads a [`text`] that must not begin or end with a blank, such as a name.
///
/// # Errors
/// If it is anything else.
pub fn trimmed_text(value: &Json, max: usize) -> Result<&str, FieldProblem> {
    let text = text(value, max)?;
    if text.starts_with(is_blank) || text.ends_with(is_blank) {
        return Err("must not begin or end with a blank".into());
    }
    Ok(text)
}

/// Reads a [normalised](normalise) e-mail address of at most 254 characters. The check is loose: it accepts every
/// address that a browser accepts.
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

#[cfg(test)]
mod tests;
