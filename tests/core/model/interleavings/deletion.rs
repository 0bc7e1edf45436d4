//! DynamoDB deletes the items of an unpaid payment one by one, while a late webhook arrives.

use aws_sdk_dynamodb::types::AttributeValue;
use payment_functions::platform::failpoint::{ExternalCall, wrap};

use super::*;

/// Longer than the payment's time to be paid.
const EXPIRED: Duration = Duration::from_secs(25 * 60 * 60);

impl Scenario<'_> {
    /// The keys of the payment's item and of those that point to it.
    fn keys(&self) -> Vec<(String, String)> {
        let (payment, provider) = (self.payment, self.provider);
        vec![
            (format!("PAYMENT#{payment}"), "STATE".to_owned()),
            (format!("REF#{provider}#{}", self.reference), "REF".to_owned()),
            (format!("ORDER#{provider}#{}", self.order), format!("PAYMENT#{payment}")),
        ]
    }

    /// Deletes these items, each unless it has no `ttl` any more.
    async fn delete(&self, keys: Vec<(String, String)>) {
        for (pk, sk) in keys {
            let delete = self.table.memory.client().delete_item().table_name(self.store.table());
            let delete = delete
                .key("pk", AttributeValue::S(pk))
                .key("sk", AttributeValue::S(sk))
                .condition_expression("attribute_exists(#ttl)")
                .expression_attribute_names("#ttl", "ttl");
            // The call's name does not matter. A refused condition is as good.
            let _ = wrap(ExternalCall::DeleteDangling, delete.send()).await;
        }
    }

    /// Whether each of these items exists, and has a `ttl`.
    fn items(&self) -> Vec<(bool, bool)> {
        let items = self.table.memory.items().unwrap();
        let find = |(pk, sk): (String, String)| {
            let found = items.iter().find(|item| item["pk"]["S"] == pk && item["sk"]["S"] == sk);
            (found.is_some(), found.is_some_and(|item| item["ttl"].is_object()))
        };
        self.keys().into_iter().map(find).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_webhook_racing_the_deletion_keeps_everything_or_is_unmatched() {
    for (provider, has_our_id) in variants() {
        for payment_goes_first in [true, false] {
            let orders = every_order("late webhook races the deletion", async |table, scheduler| {
                let scenario = Scenario::new(table, provider);
                scenario.created().await;
                let expires = expire_later(&scenario, EXPIRED);
                run_interleaved(vec![expires], &mut Exhaustive::default(), 0).await?;
                assert_eq!(scenario.status().await, Status::Expired);
                let mut keys = scenario.keys();
                assert_eq!(scenario.items(), vec![(true, true); keys.len()]);
                if !payment_goes_first {
                    keys.reverse();
                }
                let webhook = scenario.notification(Outcome::Completed, has_our_id);
                let tasks = vec![task(scenario.delivered(&webhook)), task(scenario.delete(keys))];
                assert_eq!(run_interleaved(tasks, scheduler, 0).await?, [true; 2]);

                let items = scenario.items();
                if items[0].0 {
                    scenario.assert_is(Status::Completed, 1).await;
                    assert_eq!(items, vec![(true, false); items.len()], "all of it stays");
                } else {
                    assert_eq!(items, vec![(false, false); items.len()], "all of it is gone");
                    assert!(scenario.is_unmatched(scenario.reference.as_str()).await);
                    assert_eq!(table.facts(scenario.payment), 0);
                }
                Some(())
            });
            assert!(orders.await > 3);
        }
    }
}

/// The write that expires a payment, and the facts that arrive at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn expiry_racing_a_fact_deletes_everything_or_nothing() {
    for outcome in [
        Outcome::Pending,
        Outcome::Failed,
        Outcome::Unrecognised,
        Outcome::Contradictory,
    ] {
        for (provider, has_our_id) in variants() {
            let orders = every_order("expiry races a fact", async |table, scheduler| {
                let scenario = Scenario::new(table, provider);
                scenario.created().await;
                let check = expire_later(&scenario, EXPIRED);
                let webhook = scenario.notification(outcome, has_our_id);
                let tasks = vec![check, task(scenario.delivered(&webhook))];
                assert_eq!(run_interleaved(tasks, scheduler, 0).await?, [true; 2]);
                let items = scenario.items();
                let is_deleted = items[0].1;
                assert_eq!(items, vec![(true, is_deleted); items.len()]);
                let is_clear = outcome.implied_status().is_some();
                assert!(is_clear || !is_deleted, "{outcome:?}");
                assert_eq!(table.facts(scenario.payment), 1);
                Some(())
            });
            assert!(orders.await > 1);
        }
    }
}
