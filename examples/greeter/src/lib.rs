//! Two functions that say hello. `example/person`, one per person, counts visits; `example/greeter`
//! writes the greeting, answers whoever waits for it and hands it to the playground's egress.

use dormouse_sdk::protocol::Address;
use dormouse_sdk::record::PlaygroundRecord;
use dormouse_sdk::{Context, FunctionError, FunctionName, Message, State, function, json_type};
use serde::{Deserialize, Serialize};

const VISITS: State<i32> = State::new("visits");

static GREETER: FunctionName = FunctionName::new("example/greeter");

/// What the playground's ingress is given: a person's name. `curl -d Bob` sends a string instead.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GreetRequest {
    /// The name to greet.
    pub name: String,
}

json_type!(GreetRequest, "example/GreetRequest");

/// What a person tells the greeter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Visit {
    /// The name to greet.
    pub name: String,
    /// How often this person was here, this time included.
    pub visits: i32,
    /// Who waits for the greeting.
    pub reply_to: Option<ReplyTo>,
}

json_type!(Visit, "example/Visit");

/// An address in a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReplyTo {
    /// `<namespace>/<name>`
    pub function: String,
    /// The instance.
    pub id: String,
}

async fn person(ctx: &mut Context, message: Message) -> Result<(), FunctionError> {
    let name = if message.is::<GreetRequest>() {
        message.decode::<GreetRequest>()?.name
    } else {
        message.decode::<String>()?
    };
    let visits = ctx.get(&VISITS)?.unwrap_or(0).saturating_add(1);
    ctx.set(&VISITS, visits)?;
    let reply_to = ctx.caller().map(ReplyTo::from);
    ctx.send((&GREETER, name.clone()), Visit { name, visits, reply_to })
}

async fn greeter(ctx: &mut Context, visit: Visit) -> Result<(), FunctionError> {
    let greeting = format!("Hello {} for the {} time!", visit.name, ordinal(visit.visits));
    if let Some(waiting) = visit.reply_to {
        ctx.send((waiting.function.as_str(), waiting.id), greeting.as_str())?;
    }
    let record = PlaygroundRecord { topic: "greetings".to_owned(), payload: greeting };
    ctx.send_egress("io.statefun.playground/egress", record)
}

function! { "example/person", states: [VISITS], person }
function! { "example/greeter", greeter }

impl From<&Address> for ReplyTo {
    fn from(address: &Address) -> Self {
        Self {
            function: address.function_type.as_str().to_owned(),
            id: address.id.as_str().to_owned(),
        }
    }
}

/// `1st`, `2nd`, `3rd`, `4th`; `11th`, `12th`, `13th`.
fn ordinal(number: i32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_endings() {
        let all = [1, 2, 3, 4, 10, 11, 12, 13, 21, 22, 101, 111, 113].map(ordinal);
        let expected = "1st 2nd 3rd 4th 10th 11th 12th 13th 21st 22nd 101st 111th 113th";
        assert_eq!(all.join(" "), expected);
    }
}
