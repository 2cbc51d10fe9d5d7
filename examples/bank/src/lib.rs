//! A bank that is told of payments, one per line: `<account> <number> <cents>`. Whoever sends them numbers
//! the payments of an account, and sends one again until it is answered with `ok`; the account counts each
//! number once. So payments count exactly once from the client to the journal's file, whatever dies.
//!
//! [`lines`] is the ingress, [`journal`] the egress; routers and functions are here.

pub mod journal;
pub mod lines;

use dormouse_sdk::metrics::Counter;
use dormouse_sdk::router::Downstream;
use dormouse_sdk::{Context, FunctionError, FunctionName, State, function, json_type, router};
use serde::{Deserialize, Serialize};

/// Payments of so many cents are looked at by the inspector too.
pub const LARGE_CENTS: i64 = 10_000;

/// The number of the last payment that was counted.
const LAST: State<i64> = State::new("last");

const BALANCE: State<i64> = State::new("balance");

const REPEATED: Counter =
    Counter::new("payments_repeated_total", "Payments that were sent again and not counted again.");

static ACCOUNT: FunctionName = FunctionName::new("bank/account");
static INSPECTOR: FunctionName = FunctionName::new("bank/inspector");

/// One payment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// From 1, growing by one within an account.
    pub number: i64,
    /// What is paid in.
    pub cents: i64,
}

json_type!(Payment, "bank/Payment");

#[expect(clippy::needless_pass_by_value, reason = "routers are given their records")]
fn to_account(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
    let (account, payment) = parse(&line)?;
    to.send((&ACCOUNT, account), payment)
}

/// A payment that is not large goes to nobody here.
#[expect(clippy::needless_pass_by_value, reason = "routers are given their records")]
fn to_inspector(line: String, to: &mut Downstream) -> Result<(), FunctionError> {
    let (account, payment) = parse(&line)?;
    if payment.cents >= LARGE_CENTS {
        to.send((&INSPECTOR, account), payment)?;
    }
    Ok(())
}

router! { "bank/lines", to_account }
router! { "bank/lines", to_inspector }

async fn account(ctx: &mut Context, payment: Payment) -> Result<(), FunctionError> {
    if !is_new(ctx, &payment)? {
        return Ok(());
    }
    let balance = ctx.get(&BALANCE)?.unwrap_or(0) + payment.cents;
    ctx.set(&BALANCE, balance)?;
    let entry = format!("{} {} {balance}", ctx.id(), payment.number);
    ctx.send_egress("bank/journal", entry)
}

async fn inspector(ctx: &mut Context, payment: Payment) -> Result<(), FunctionError> {
    if !is_new(ctx, &payment)? {
        return Ok(());
    }
    let entry = format!("large {} {} {}", ctx.id(), payment.number, payment.cents);
    ctx.send_egress("bank/journal", entry)
}

function! { "bank/account", states: [LAST, BALANCE], account }
function! { "bank/inspector", states: [LAST], inspector }

/// Whether the payment has not been counted; from now on it has.
fn is_new(ctx: &mut Context, payment: &Payment) -> Result<bool, FunctionError> {
    if payment.number <= ctx.get(&LAST)?.unwrap_or(0) {
        ctx.count(&REPEATED, 1)?;
        return Ok(false);
    }
    ctx.set(&LAST, payment.number)?;
    Ok(true)
}

fn parse(line: &str) -> Result<(&str, Payment), FunctionError> {
    let expected = || FunctionError::new("expected `<account> <number> <cents>`");
    let mut words = line.split_whitespace();
    let (account, number, cents) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(account), Some(number), Some(cents), None) => (account, number, cents),
        _ => return Err(expected()),
    };
    let number = number.parse().map_err(|_| expected())?;
    let cents = cents.parse().map_err(|_| expected())?;
    Ok((account, Payment { number, cents }))
}

#[cfg(test)]
mod tests {
    use dormouse_protocol::TypeName;
    use dormouse_sdk::router::Routers;
    use dormouse_sdk::testing::{Instance, record};

    use super::*;

    fn targets(line: &str) -> Result<Vec<String>, String> {
        let ingress = TypeName::parse("bank/lines").expect("a name");
        let routed = Routers::of(&ingress).route(line).map_err(|error| error.to_string())?;
        Ok(routed.iter().map(|message| message.target.to_string()).collect())
    }

    #[test]
    fn lines_go_to_accounts_and_large_ones_to_the_inspector_too() {
        assert_eq!(targets("ann 1 250").unwrap(), ["bank/account/ann"]);
        assert_eq!(targets("ann 2 10000").unwrap(), ["bank/account/ann", "bank/inspector/ann"]);
        for line in ["", "ann", "ann 1", "ann x 1", "ann 1 x", "ann 1 1 1"] {
            let refused = targets(line).unwrap_err();
            assert!(refused.ends_with(": expected `<account> <number> <cents>`"), "{refused}");
        }
    }

    #[test]
    fn a_payment_that_comes_again_is_not_counted_again() {
        let mut ann = Instance::of("bank/account", "ann");
        let payment = Payment { number: 1, cents: 250 };
        let outcome = ann.receive(payment.clone()).unwrap();
        assert_eq!(outcome.records(), [record("bank/journal", "ann 1 250")]);
        let outcome = ann.receive(payment).unwrap();
        assert!(outcome.records().is_empty() && outcome.changed().is_empty());
        assert_eq!(outcome.counted(&REPEATED), 1);
        assert_eq!(ann.get(&BALANCE), Some(250));
    }
}
