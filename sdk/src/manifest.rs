//! A YAML document as written: nodes that know their line, and readers which report everything that
//! is wrong at once instead of stopping at the first mistake.

pub mod date;
pub mod failure;
pub mod properties;
pub mod routes;
pub mod values;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dormouse_protocol::TypeName;

/// A place in a file; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A node of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: NodeValue,
}

/// The value of a node, before anybody has asked for a type.
#[derive(Clone, Debug)]
pub enum NodeValue {
    /// Text as written; `plain` tells an unquoted one, which may mean a number, a boolean or null.
    Scalar {
        /// The text without quotes.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// In the order written. A key that occurs twice was reported by the parser.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What it is, for messages: "a list", "the text `abc`".
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            NodeValue::Scalar { text, plain: true } if is_null(text) => "nothing".to_owned(),
            NodeValue::Scalar { text, .. } => format!("`{text}`"),
            NodeValue::List(items) if items.is_empty() => "an empty list".to_owned(),
            NodeValue::List(_) => "a list".to_owned(),
            NodeValue::Map(entries) if entries.is_empty() => "an empty map".to_owned(),
            NodeValue::Map(_) => "a map".to_owned(),
        }
    }

    /// Whether nothing is written here, or one of YAML's words for it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar { text, plain: true } if is_null(text))
    }

    /// The text of a scalar, quoted or not.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            NodeValue::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map, in the order written.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.value {
            NodeValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under `key` of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.as_map()?;
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether the application may run in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The application does not start.
    Error,
    /// It starts, but somebody should know.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Whether the application may run in spite of it.
    pub severity: Severity,
    /// Where it stands.
    pub span: Span,
    /// What is wrong, what was expected, what to do: one sentence, no full stop.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}: {severity}: {}", self.span, self.message)
    }
}

/// All findings of a run of the checks.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// In the order in which they were found.
    pub found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Reports something that keeps the application from starting.
    pub fn error(&mut self, span: &Span, message: impl Into<String>) {
        self.push(Severity::Error, span, message.into());
    }

    /// Reports something that somebody should know.
    pub fn warning(&mut self, span: &Span, message: impl Into<String>) {
        self.push(Severity::Warning, span, message.into());
    }

    fn push(&mut self, severity: Severity, span: &Span, message: String) {
        self.found.push(Diagnostic { severity, span: span.clone(), message });
    }

    /// Whether the application must not start.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads the fields of a map. [`Fields::finish`] reports those that nobody asked for.
#[derive(Debug)]
pub struct Fields<'n> {
    node: &'n Node,
    entries: &'n [(Node, Node)],
    known: Vec<&'static str>,
    misplaced: Vec<(&'static str, &'static str)>,
    strict: bool,
}

impl<'n> Fields<'n> {
    /// `None`, with an error reported, when `node` is no map. `what` names it in messages (`spec`).
    pub fn of(
        node: &'n Node,
        what: &str,
        strict: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let entries = match &node.value {
            NodeValue::Map(entries) => entries.as_slice(),
            _ if node.is_null() => &[],
            _ => {
                let found = node.describe();
                diagnostics.error(&node.span, format!("{what}: expected a map, found {found}"));
                return None;
            }
        };
        Some(Self { node, entries, known: Vec::new(), misplaced: Vec::new(), strict })
    }

    /// Where the map stands.
    #[must_use]
    pub fn span(&self) -> &'n Span {
        &self.node.span
    }

    /// The value of a field, unless it is absent or null.
    pub fn optional(&mut self, name: &'static str) -> Option<&'n Node> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let (_, value) = self.entries.iter().find(|(key, _)| key.as_text() == Some(name))?;
        (!value.is_null()).then_some(value)
    }

    /// The value of a field; an error is reported when it is absent or null.
    pub fn required(
        &mut self,
        name: &'static str,
        expected: &str,
        diagnostics: &mut Diagnostics,
    ) -> Option<&'n Node> {
        let found = self.optional(name);
        if found.is_none() {
            diagnostics
                .error(&self.node.span, format!("missing field `{name}`: expected {expected}"));
        }
        found
    }

    /// The `id` of an ingress or egress: a type name.
    pub fn required_id(&mut self, diagnostics: &mut Diagnostics) -> Option<TypeName> {
        let node = self.required("id", "`<namespace>/<name>`", diagnostics)?;
        values::type_name(node, "id", diagnostics)
    }

    /// Names a field that people write here although it stands elsewhere; `hint` says where: "it belongs
    /// into `spec`". It is reported like an unknown one.
    pub fn misplaced(&mut self, name: &'static str, hint: &'static str) {
        self.misplaced.push((name, hint));
    }

    /// Reports fields that no call has named, with the nearest known name: an error in strict kinds,
    /// else a warning.
    pub fn finish(self, diagnostics: &mut Diagnostics) {
        for (key, _) in self.entries {
            let Some(name) = key.as_text() else {
                diagnostics
                    .error(&key.span, format!("expected a field name, found {}", key.describe()));
                continue;
            };
            if self.known.contains(&name) {
                continue;
            }
            let misplaced = self.misplaced.iter().find(|(misplaced, _)| *misplaced == name);
            let message = match (misplaced, nearest(name, &self.known)) {
                (Some((_, hint)), _) => format!("unknown field `{name}`; {hint}"),
                (None, Some(known)) => format!("unknown field `{name}`; did you mean `{known}`?"),
                (None, None) => format!("unknown field `{name}`; known are {}", list(&self.known)),
            };
            if self.strict {
                diagnostics.error(&key.span, message);
            } else {
                diagnostics.warning(&key.span, format!("{message} (it has no effect)"));
            }
        }
    }
}

/// Names for a message: `` `a`, `b`, `c` ``.
#[must_use]
pub fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The known name that `name` most likely stands for.
#[must_use]
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|candidate| (edit_distance(name, candidate), *candidate));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 3).then_some(best)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
