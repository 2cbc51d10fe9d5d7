//! The playground's shopping cart, with functions of the Java SDK: carts and stock always agree.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dormouse_interop::application::{Application, changed};
use dormouse_interop::packages::{Language, Program};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::request::Value;

use crate::functions::Functions;
use crate::stage::manifest;

struct Shop {
    application: Application,
    functions: Functions,
}

impl Shop {
    fn play(name: &str, story: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut application = Application::new(name)?;
        let port = lasting_port()?;
        let log = application.directory().join("functions.log");
        let functions = Functions::start(Language::Java, Program::ShoppingCart, port, &log)?;
        let host = format!("http://127.0.0.1:{port}");
        let text = manifest("shopping-cart.yaml")?;
        let text = changed(&text, &[("http://shopping-cart-functions:1108", &host)])?;
        application.start_with(&text)?;
        let mut shop = Self { application, functions };
        let told = story(&mut shop);
        told.with_context(|| {
            format!("{}\n{}", shop.application.log_tail(), shop.functions.log_tail())
        })
    }

    fn put(&self, address: &str, kind: &str, json: &str) -> Result<()> {
        let value = Value::new(&format!("com.example/{kind}"), json);
        self.application.sender().accepted(&format!("com.example/{address}"), &value)
    }

    fn restock(&self, item: &str, quantity: u32) -> Result<()> {
        let json = format!(r#"{{"itemId": "{item}", "quantity": {quantity}}}"#);
        self.put(&format!("stock/{item}"), "RestockItem", &json)
    }

    fn add(&self, user: &str, item: &str, quantity: u32) -> Result<()> {
        let json = format!(r#"{{"userId": "{user}", "quantity": {quantity}, "itemId": "{item}"}}"#);
        self.put(&format!("user-shopping-cart/{user}"), "AddToCart", &json)
    }

    fn clear(&self, user: &str) -> Result<()> {
        let json = format!(r#"{{"userId": "{user}"}}"#);
        self.put(&format!("user-shopping-cart/{user}"), "ClearCart", &json)
    }

    /// What the cart holds, once all things have come that were asked for: a checkout, again and again.
    fn receipt(&mut self, user: &str, items: &str) -> Result<()> {
        let expected = format!("Receipt{{userId='{user}', details='{items}'}}");
        for _ in 0..200 {
            let json = format!(r#"{{"userId": "{user}"}}"#);
            self.put(&format!("user-shopping-cart/{user}"), "Checkout", &json)?;
            std::thread::sleep(Duration::from_millis(50));
            loop {
                let answer = self.application.egress_answer("/receipts")?;
                if answer.status != 200 {
                    break;
                }
                if answer.text()? == expected {
                    return Ok(());
                }
            }
        }
        bail!("no {expected}")
    }
}

/// The scenario of the playground's description.
#[test]
fn three_pairs_of_socks_are_bought() -> Result<()> {
    Shop::play("java-cart-socks", |shop| {
        shop.restock("socks", 50)?;
        shop.add("1", "socks", 3)?;
        shop.receipt("1", "socks: 3")
    })
}

#[test]
fn nothing_is_sold_twice_and_what_is_given_back_is_there_again() -> Result<()> {
    Shop::play("java-cart-stock", |shop| {
        shop.restock("socks", 10)?;
        shop.restock("hat", 1)?;
        shop.add("1", "socks", 4)?;
        shop.receipt("1", "socks: 4")?;
        // Seven are not there any more; six are.
        shop.add("2", "socks", 7)?;
        shop.add("2", "hat", 1)?;
        shop.receipt("2", "hat: 1")?;
        shop.add("2", "socks", 6)?;
        shop.receipt("2", "hat: 1\nsocks: 6")?;
        shop.application.kill()?;
        shop.application.start()?;
        // What is given back comes before what is asked for next by the same cart.
        shop.clear("2")?;
        shop.add("2", "socks", 7)?;
        shop.add("2", "socks", 6)?;
        shop.receipt("2", "socks: 6")?;
        shop.receipt("1", "socks: 4")
    })
}
