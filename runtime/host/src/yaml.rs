//! YAML text → nodes that know their line. Aliases are expanded and merge keys applied within a
//! fixed budget, so that a small file cannot become a large tree; keys that occur twice in a map and
//! tags are told with each document. After malformed YAML the documents before it are still answered.

mod lines;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::yaml::lines::MovedLines;
use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue, Span};
use rustc_hash::FxHashMap;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

/// Maps and lists inside one another, aliases expanded.
pub const DEPTH_MAX: usize = 64;

/// What the nodes of one file may hold in memory, aliases expanded, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A document, and what is doubtful about it.
#[derive(Debug)]
pub struct Document {
    pub root: Node,
    doubts: Vec<Doubt>,
}

/// What some readers of YAML pass over in silence, and others refuse.
#[derive(Debug)]
struct Doubt {
    span: Span,
    message: String,
    /// What comes of it where it is passed over.
    outcome: &'static str,
}

impl Document {
    /// Reports what is doubtful, as errors or, to whoever passes over it, as warnings. Answers the root.
    pub fn checked(self, is_tolerant: bool, diagnostics: &mut Diagnostics) -> Node {
        for Doubt { span, message, outcome } in self.doubts {
            if is_tolerant {
                diagnostics.warning(&span, format!("{message}{outcome}"));
            } else {
                diagnostics.error(&span, message);
            }
        }
        self.root
    }
}

/// Parses a stream of documents.
#[must_use]
pub fn parse(file: &Arc<Path>, text: &str, diagnostics: &mut Diagnostics) -> Vec<Document> {
    let mut text = Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut lines = MovedLines::default();
    loop {
        let mut tree = Tree::new(file, lines.clone());
        let stop = match tree.read(&text) {
            Ok(()) => return tree.documents,
            Err(Failed::Parser(error)) => match lines.mend(&text, &error) {
                Some(mended) => {
                    text = Cow::Owned(mended);
                    continue;
                }
                None => malformed(&error),
            },
            Err(Failed::Bounds(stop)) => stop,
        };
        diagnostics.error(&tree.span(stop.at), stop.message);
        return tree.documents;
    }
}

enum Failed {
    Parser(ScanError),
    Bounds(Stop),
}

/// Why the rest of a file cannot be read.
struct Stop {
    at: Marker,
    message: String,
}

fn malformed(error: &ScanError) -> Stop {
    let info = error.info();
    let hint = if info.contains("unknown anchor") {
        " (text that begins with `*` needs quotes)"
    } else if info.starts_with("invalid indentation") {
        " (indent what stands inside of brackets)"
    } else {
        ""
    };
    Stop { at: *error.marker(), message: format!("malformed YAML: {info}{hint}") }
}

/// A tree in the making. Collections that are not closed yet wait on a stack of our own.
struct Tree {
    file: Arc<Path>,
    documents: Vec<Document>,
    /// Of the document that is being read.
    doubts: Vec<Doubt>,
    open: Vec<Open>,
    anchors: FxHashMap<usize, Anchored>,
    held_bytes: usize,
    lines: MovedLines,
}

struct Open {
    at: Marker,
    anchor: usize,
    children: Children,
}

enum Children {
    List(Vec<Node>),
    Map { entries: Vec<(Node, Node)>, key: Option<Node> },
}

struct Anchored {
    node: Node,
    size: Size,
}

#[derive(Clone, Copy)]
struct Size {
    bytes: usize,
    depth: usize,
}

impl Tree {
    fn new(file: &Arc<Path>, lines: MovedLines) -> Self {
        Self {
            file: Arc::clone(file),
            documents: Vec::new(),
            doubts: Vec::new(),
            open: Vec::new(),
            anchors: FxHashMap::default(),
            held_bytes: 0,
            lines,
        }
    }

    fn read(&mut self, text: &str) -> Result<(), Failed> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(Failed::Parser)?;
            self.take(event, span.start).map_err(Failed::Bounds)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text, style, tag.as_deref(), at);
                self.finished(node, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.doubt_tag(tag.as_deref(), "seq", at);
                self.begin(at, anchor, Children::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.doubt_tag(tag.as_deref(), "map", at);
                let (entries, key) = (Vec::new(), None);
                self.begin(at, anchor, Children::Map { entries, key })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Node {
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !is_text {
            self.doubt_tag(tag, "null bool int float", at);
        }
        Node {
            span: self.span(at),
            value: NodeValue::Scalar {
                text: text.into_owned(),
                plain: style == ScalarStyle::Plain && !is_text,
            },
        }
    }

    fn doubt_tag(&mut self, tag: Option<&Tag>, usual: &str, at: Marker) {
        let Some(tag) = tag else { return };
        if !(tag.is_yaml_core_schema() && usual.split(' ').any(|known| known == tag.suffix)) {
            let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
            let message = format!("the YAML tag `{handle}{}` has no meaning here", tag.suffix);
            let outcome = " (it has no effect)";
            self.doubts.push(Doubt { span: self.span(at), message, outcome });
        }
    }

    fn begin(&mut self, at: Marker, anchor: usize, children: Children) -> Result<(), Stop> {
        if self.open.len() == DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, anchor, children });
        Ok(())
    }

    fn end(&mut self, at: Marker) -> Result<(), Stop> {
        let Some(closed) = self.open.pop() else {
            return Ok(());
        };
        let value = match closed.children {
            Children::List(items) => NodeValue::List(items),
            Children::Map { entries, .. } => NodeValue::Map(merged(entries, &mut self.doubts)),
        };
        let span = self.span(closed.at);
        self.finished(Node { span, value }, closed.anchor, at)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = match self.open.iter().any(|open| open.anchor == anchor) {
                true => "this alias stands inside of the node that it names",
                false => "this alias names an anchor of another document; write the value here",
            };
            return Err(Stop { at, message: message.to_owned() });
        };
        if self.open.len() + anchored.size.depth > DEPTH_MAX {
            return Err(too_deep(at));
        }
        let bytes = anchored.size.bytes;
        self.hold(bytes, at)?;
        let node = self.anchors[&anchor].node.clone();
        self.place(node);
        Ok(())
    }

    /// A node is complete: remember it when it has an anchor, and give it to what holds it.
    fn finished(&mut self, node: Node, anchor: usize, at: Marker) -> Result<(), Stop> {
        if let NodeValue::Scalar { text, .. } = &node.value {
            self.hold(size_of::<Node>() + text.len(), at)?;
        } else {
            self.hold(size_of::<Node>(), at)?;
        }
        if anchor != 0 {
            let size = size(&node);
            self.hold(size.bytes, at)?;
            let anchored = Anchored { node: node.clone(), size };
            self.anchors.insert(anchor, anchored);
        }
        self.place(node);
        Ok(())
    }

    fn place(&mut self, node: Node) {
        let Some(holder) = self.open.last_mut() else {
            let doubts = std::mem::take(&mut self.doubts);
            self.documents.push(Document { root: node, doubts });
            return;
        };
        match &mut holder.children {
            Children::List(items) => items.push(node),
            Children::Map { entries, key } => match key.take() {
                Some(name) => entries.push((name, node)),
                None => *key = Some(node),
            },
        }
    }

    fn hold(&mut self, bytes: usize, at: Marker) -> Result<(), Stop> {
        self.held_bytes += bytes;
        if self.held_bytes <= EXPANDED_BYTES_MAX {
            return Ok(());
        }
        let mib = EXPANDED_BYTES_MAX >> 20;
        let message = format!("the file needs more than {mib} MiB with its aliases expanded");
        Err(Stop { at, message })
    }

    fn span(&self, at: Marker) -> Span {
        let column = self.lines.column(at);
        Span { file: Arc::clone(&self.file), line: at.line().max(1), column }
    }
}

fn too_deep(at: Marker) -> Stop {
    let message = format!("more than {DEPTH_MAX} maps and lists inside one another");
    Stop { at, message }
}

/// Recursion is bounded by [`DEPTH_MAX`].
fn size(node: &Node) -> Size {
    let own = size_of::<Node>();
    let add = |sum: Size, child: Size| Size {
        bytes: sum.bytes + child.bytes,
        depth: sum.depth.max(child.depth + 1),
    };
    let start = |depth| Size { bytes: own, depth };
    match &node.value {
        NodeValue::Scalar { text, .. } => Size { bytes: own + text.len(), depth: 0 },
        NodeValue::List(items) => items.iter().map(size).fold(start(1), add),
        NodeValue::Map(entries) => {
            let children = entries.iter().flat_map(|(key, value)| [size(key), size(value)]);
            children.fold(start(1), add)
        }
    }
}

/// Applies `<<` (keys of the map itself win, then earlier merged maps). Of a key that occurs twice the
/// last value counts, as for StateFun.
fn merged(entries: Vec<(Node, Node)>, doubts: &mut Vec<Doubt>) -> Vec<(Node, Node)> {
    let mut places: FxHashMap<String, usize> = FxHashMap::default();
    let mut kept: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut inherited = Vec::new();
    for (key, value) in entries {
        if is_merge(&key) {
            inherited.extend(inheritance(value, doubts));
            continue;
        }
        let Some(name) = key.as_text() else {
            kept.push((key, value));
            continue;
        };
        let Some(place) = places.get(name) else {
            places.insert(name.to_owned(), kept.len());
            kept.push((key, value));
            continue;
        };
        let earlier = &mut kept[*place];
        let line = earlier.0.span.line;
        let message = format!("key `{name}` occurs twice in this map, also in line {line}");
        doubts.push(Doubt { span: key.span.clone(), message, outcome: "; this one counts" });
        *earlier = (key, value);
    }
    for (key, value) in inherited {
        let place = kept.len();
        let is_new =
            key.as_text().is_none_or(|name| places.insert(name.to_owned(), place).is_none());
        if is_new {
            kept.push((key, value));
        }
    }
    kept
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, NodeValue::Scalar { text, plain: true } if text == "<<")
}

/// The entries that a merge key brings.
fn inheritance(value: Node, doubts: &mut Vec<Doubt>) -> Vec<(Node, Node)> {
    let maps = match value.value {
        NodeValue::List(items) => items,
        _ => vec![value],
    };
    let mut entries = Vec::new();
    for map in maps {
        let found = map.describe();
        match map.value {
            NodeValue::Map(of_map) => entries.extend(of_map),
            _ => doubts.push(Doubt {
                span: map.span,
                message: format!(
                    "`<<` merges maps: expected a map or a list of maps, found {found}"
                ),
                outcome: " (it has no effect)",
            }),
        }
    }
    entries
}
