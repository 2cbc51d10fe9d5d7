//! Types that strangers name are bounded; what is stored already can always be read. Alone in its process,
//! whose types it uses up.

use dormouse_protocol::FunctionType;
use dormouse_protocol::function_type::FUNCTION_TYPES_MAX;

#[test]
fn strangers_cannot_use_up_the_types_that_are_stored() {
    let known = FunctionType::new("own", "type");
    let mut taken = 1;
    while FunctionType::try_new("stranger", &taken.to_string()).is_some() {
        taken += 1;
    }
    assert_eq!(taken, FUNCTION_TYPES_MAX);
    assert_eq!(FunctionType::try_new("own", "type"), Some(known));
    assert_eq!(FunctionType::try_new("stranger", "more"), None);
    assert!(FunctionType::parse("stranger/more").is_err());
    let stored = FunctionType::new("stored", "before");
    assert_eq!((stored.as_str(), stored.index()), ("stored/before", FUNCTION_TYPES_MAX));
    assert_eq!(FunctionType::try_new("stored", "before"), Some(stored));
}
