//! Two payments of one order are completed at the same time, and each completion is checked as the publisher does it.

use publish_events::order_paid_twice::check_order;

use super::*;

impl Scenario<'_> {
    /// The publisher's check after the payment was completed.
    async fn checked(&self) {
        let payment = self.store.payment(self.payment).await.unwrap().unwrap();
        check_order(self.store, &payment, clock::now()).await.unwrap();
    }

    async fn reasons(&self) -> Vec<AttentionReason> {
        let payment = self.store.payment(self.payment).await.unwrap().unwrap();
        payment.attention.reasons().collect()
    }
}

/// In every order of the calls, also if one check crashes and its records are retried.
#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_checks_flag_both_payments_of_an_order() {
    use Provider::{ApoloPay, FinvyPay};
    for providers in [[ApoloPay, FinvyPay], [FinvyPay, FinvyPay]] {
        let orders = every_order("checks of one order", async |table, scheduler| {
            let order = unique("o");
            let scenarios = providers.map(|provider| Scenario {
                order: order.clone(),
                ..Scenario::new(table, provider)
            });
            for scenario in &scenarios {
                scenario.created().await;
                scenario
                    .delivered(&scenario.notification(Outcome::Completed, true))
                    .await;
            }
            let tasks = scenarios.iter().map(|scenario| task(scenario.checked())).collect();
            let done = run_interleaved(tasks, scheduler, 1).await?;
            for (scenario, done) in scenarios.iter().zip(done) {
                if !done {
                    scenario.checked().await;
                }
            }
            for scenario in &scenarios {
                assert_eq!(scenario.reasons().await, [AttentionReason::OrderPaidTwice]);
            }
            Some(())
        });
        assert!(orders.await > 20);
    }
}
