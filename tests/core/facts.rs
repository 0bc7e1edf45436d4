//! What providers say of a payment of 25.50 US dollars, for flows in this process.

use payment_functions::id::Provider;
use payment_functions::money::Decimal;
use payment_functions::payment::{Fact, Outcome};
use proptest::prelude::*;

/// What a provider says of it, under no id.
pub fn said(provider: Provider, outcome: Outcome) -> Fact {
    Fact {
        provider,
        payment: None,
        transaction: None,
        order_id: None,
        outcome,
        words: outcome.name().to_owned(),
        amount: Decimal::parse("25.50"),
        currency: Some("USD".to_owned()),
        occurred_at: None,
        operator: None,
    }
}

/// Any outcome, completions more often.
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
    ])
}
