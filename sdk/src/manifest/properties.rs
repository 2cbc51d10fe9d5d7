//! Settings that a component passes on to a client library: `properties` of Kafka kinds,
//! `clientConfigProperties` of Kinesis kinds. In YAML a list of maps of one entry each.

use std::collections::BTreeMap;
use std::fmt;

use super::values::{list, mismatch};
use super::{Diagnostics, Node, NodeValue, Span};

const EXPECTED: &str = "a map of one entry, `- NAME: VALUE`";

/// Names and values, sorted by name. They may hold passwords, so only names are shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, Property>);

/// One setting.
#[derive(Clone, PartialEq, Eq)]
pub struct Property {
    /// Where its name stands.
    pub span: Span,
    /// As text, whatever it looks like.
    pub value: String,
}

impl Properties {
    /// Reads a list of maps. A name that occurs twice is a warning, and its last value counts.
    pub fn read(node: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        let items = list(node, field, diagnostics)?;
        let mut properties = BTreeMap::new();
        let mut is_right = true;
        for item in items {
            let Some((name, property)) = read_one(item, field, diagnostics) else {
                is_right = false;
                continue;
            };
            let span = property.span.clone();
            if let Some(earlier) = properties.insert(name.clone(), property) {
                let line = earlier.span.line;
                let message =
                    format!("`{field}`: `{name}` stands in line {line} too; this one counts");
                diagnostics.warning(&span, message);
            }
        }
        is_right.then_some(Self(properties))
    }

    /// The value of a setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|property| property.value.as_str())
    }

    /// Takes a setting out, because a field of its own says the same.
    pub fn take(&mut self, name: &str) -> Option<Property> {
        self.0.remove(name)
    }

    /// All settings, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property").field("span", &self.span).finish_non_exhaustive()
    }
}

fn read_one(item: &Node, field: &str, diagnostics: &mut Diagnostics) -> Option<(String, Property)> {
    let (first, more) = item.as_map().and_then(<[_]>::split_first).or_else(|| {
        mismatch(item, field, EXPECTED, diagnostics);
        None
    })?;
    let (key, value) = first;
    let Some(name) = key.as_text() else {
        mismatch(key, field, "the name of a setting", diagnostics);
        return None;
    };
    // StateFun reads the first entry of each map and forgets the others.
    for (key, _) in more {
        let message = format!(
            "`{field}`: only the first entry of this map counts; put `- ` before {}",
            key.describe()
        );
        diagnostics.warning(&key.span, message);
    }
    let value = match &value.value {
        NodeValue::Scalar { .. } => value.as_text().unwrap_or_default().to_owned(),
        NodeValue::List(_) | NodeValue::Map(_) => {
            let found = value.describe();
            diagnostics.warning(
                &value.span,
                format!("`{field}`: `{name}` is {found}, which counts as empty text"),
            );
            String::new()
        }
    };
    Some((name.to_owned(), Property { span: key.span.clone(), value }))
}
