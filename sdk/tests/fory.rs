//! Values in the form of Apache Fory: what an older version of the program has written reads under the
//! newer one, and damaged bytes are an error.

use dormouse_sdk::{ValueType, fory_type};
use fory::ForyStruct;

#[derive(Debug, PartialEq, ForyStruct)]
struct Basket {
    owner: String,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, ForyStruct)]
struct Item {
    count: i32,
}

fory_type!(Basket, "test/Basket", with "test/Item" => Item);

/// The same type in a later version of the program.
#[derive(Debug, PartialEq, ForyStruct)]
struct NewBasket {
    note: Option<String>,
    items: Vec<NewItem>,
    cents: i64,
}

#[derive(Debug, PartialEq, ForyStruct)]
struct NewItem {
    weight: f64,
    count: i32,
}

fory_type!(NewBasket, "test/Basket", with "test/Item" => NewItem);

/// One whose parts are not named.
#[derive(Debug, PartialEq, ForyStruct)]
struct Unnamed {
    items: Vec<Item>,
}

fory_type!(Unnamed, "test/Unnamed");

fn basket() -> Basket {
    Basket { owner: "Bob".to_owned(), items: vec![Item { count: 3 }] }
}

#[test]
fn values_come_back_and_read_under_a_newer_version() {
    let bytes = basket().encode().expect("bytes");
    assert_eq!(Basket::decode(&bytes).expect("a basket"), basket());
    let newer = NewBasket::decode(&bytes).expect("a newer basket");
    let items = vec![NewItem { weight: 0.0, count: 3 }];
    assert_eq!(newer, NewBasket { note: None, items, cents: 0 });
}

#[test]
fn a_cut_value_is_an_error_at_every_length() {
    let bytes = basket().encode().expect("bytes");
    for len in 0..bytes.len() {
        assert!(Basket::decode(&bytes.slice(..len)).is_err(), "{len}");
    }
}

#[test]
fn a_struct_that_is_not_named_is_an_error() {
    let error = Unnamed { items: vec![Item { count: 3 }] }.encode().expect_err("it is refused");
    assert!(error.to_string().contains("Item"), "{error}");
}
