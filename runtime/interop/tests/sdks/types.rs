//! Every type that an SDK has, as state and as message: the bytes are those of the protocol, and a value
//! that is present and empty is not one that is absent, also after a kill.

use anyhow::{Result, ensure};
use dormouse_interop::packages::Language;
use dormouse_interop::wire::request::Value;

use crate::stage::Stage;

/// State, typename, a value in words, its bytes, and the value whose bytes are none.
const TYPES: [(&str, &str, &str, &[u8], &str); 6] = [
    ("count", "io.statefun.types/int", "-2", b"\x0d\xfe\xff\xff\xff", "0"),
    ("ratio", "io.statefun.types/float", "1.5", b"\x0d\x00\x00\xc0\x3f", "0"),
    ("flag", "io.statefun.types/bool", "true", b"\x08\x01", "false"),
    ("text", "io.statefun.types/string", "h\u{e9}", b"\x0a\x03h\xc3\xa9", ""),
    (
        "big",
        "io.statefun.types/long",
        "-9000000000000000000",
        b"\x09\x00\x00\x7c\x1d\xaf\x93\x19\x83",
        "0",
    ),
    ("exact", "io.statefun.types/double", "0.1", b"\x09\x9a\x99\x99\x99\x99\x99\xb9\x3f", "0"),
];

pub(crate) fn values_of_every_type_are_kept_byte_for_byte(language: Language) -> Result<()> {
    // The JavaScript SDK has neither long nor double.
    let types = if language == Language::JavaScript { &TYPES[..4] } else { &TYPES };
    let states: Vec<&str> = types.iter().map(|(state, ..)| *state).collect();
    Stage::play(language, "types", |stage| {
        for (state, _, value, _, empty) in types {
            stage.tell("full", &format!("put {state} {value}"))?;
            stage.tell("empty", &format!("put {state} {empty}"))?;
        }
        for life in 0..2 {
            let full = stage.all_shown("full", &states)?;
            let empty = stage.all_shown("empty", &states)?;
            let unset = stage.all_shown("unset", &states)?;
            for (index, (state, typename, _, bytes, _)) in types.iter().enumerate() {
                let expected = Value::new(typename, *bytes);
                ensure!(full[index] == expected, "{state}, life {life}: {:?}", full[index]);
                let expected = Value::new(typename, Vec::new());
                ensure!(empty[index] == expected, "{state}, life {life}: {:?}", empty[index]);
                ensure!(unset[index] == Value::string("unset"), "{state}: {:?}", unset[index]);
            }
            stage.application.kill()?;
            stage.application.start()?;
        }
        Ok(())
    })
}
