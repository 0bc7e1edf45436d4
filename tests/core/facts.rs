//! Facts about a payment of 25.50 US dollars.

use payment_functions::domain::decimal::Decimal;
use payment_functions::domain::fact::{Fact, Outcome};
use payment_functions::domain::provider::Provider;
use payment_functions::domain::status::Status;
use payment_functions::domain::time::Timestamp;
use proptest::prelude::*;

/// A fact without references.
pub fn fact(provider: Provider, outcome: Outcome) -> Fact {
    Fact {
        provider,
        payment: None,
        transaction: None,
        order_id: None,
        outcome,
        raw_status: outcome.name().to_owned(),
        amount: Decimal::parse("25.50"),
        currency: Some("USD".to_owned()),
        reversals: Vec::new(),
        occurred_at: None,
        created_at: None,
        is_foreign: false,
        received_at: Timestamp::from_millis(1_800_000_000_000),
        operator: None,
    }
}

/// Whether a fact has the payment's amount and currency. ApoloPay reports no currency, so none is compared there.
pub fn has_own_money(fact: &Fact) -> bool {
    let has_currency = match fact.provider {
        Provider::ApoloPay => true,
        Provider::FinvyPay => fact
            .currency
            .as_deref()
            .is_some_and(|code| code.eq_ignore_ascii_case("USD")),
    };
    has_currency && fact.amount == Decimal::parse("25.50")
}

/// The status that a fact implies. A completion must have the payment's money.
pub fn implied_status(fact: &Fact) -> Option<Status> {
    match fact.outcome {
        Outcome::Pending => Some(Status::Pending),
        Outcome::Authorized => Some(Status::Authorized),
        Outcome::Cancelled => Some(Status::Cancelled),
        Outcome::Failed => Some(Status::Failed),
        Outcome::Completed if has_own_money(fact) => Some(Status::Completed),
        Outcome::Completed => Some(Status::Review),
        Outcome::Unrecognised | Outcome::Contradictory | Outcome::Reversed => None,
    }
}

/// Any outcome; completions are more likely.
pub fn outcomes() -> impl Strategy<Value = Outcome> + Clone {
    prop::sample::select(vec![
        Outcome::Pending,
        Outcome::Authorized,
        Outcome::Cancelled,
        Outcome::Failed,
        Outcome::Completed,
        Outcome::Completed,
        Outcome::Completed,
        Outcome::Unrecognised,
        Outcome::Contradictory,
        Outcome::Reversed,
    ])
}
