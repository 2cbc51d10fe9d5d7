//! YAML text → nodes that know their line. Aliases are expanded and merge keys applied within a
//! fixed budget, so that a small file cannot become a large tree; a key that occurs twice in a map is
//! reported. After malformed YAML the documents before it are still answered.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use dormouse_sdk::manifest::{Diagnostics, Node, NodeValue, Span};
use rustc_hash::FxHashMap;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

/// Maps and lists inside one another, aliases expanded.
pub const DEPTH_MAX: usize = 64;

/// What the nodes of one file may hold in memory, aliases expanded, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Parses a stream of documents.
#[must_use]
pub fn parse(file: &Arc<Path>, text: &str, diagnostics: &mut Diagnostics) -> Vec<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = Tree {
        file: Arc::clone(file),
        documents: Vec::new(),
        open: Vec::new(),
        anchors: FxHashMap::default(),
        held_bytes: 0,
    };
    for event in Parser::new_from_str(text) {
        let taken = event
            .map_err(|error| malformed(&error))
            .and_then(|(event, span)| tree.take(event, span.start, diagnostics));
        if let Err(stop) = taken {
            diagnostics.error(&tree.span(stop.at), stop.message);
            break;
        }
    }
    tree.documents
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
    } else {
        ""
    };
    Stop { at: *error.marker(), message: format!("malformed YAML: {info}{hint}") }
}

/// A tree in the making. Collections that are not closed yet wait on a stack of our own.
struct Tree {
    file: Arc<Path>,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: FxHashMap<usize, Anchored>,
    held_bytes: usize,
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
    fn take(
        &mut self,
        event: Event<'_>,
        at: Marker,
        diagnostics: &mut Diagnostics,
    ) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text, style, tag.as_deref(), at, diagnostics);
                self.finished(node, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", at, diagnostics);
                self.begin(at, anchor, Children::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", at, diagnostics);
                let (entries, key) = (Vec::new(), None);
                self.begin(at, anchor, Children::Map { entries, key })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at, diagnostics),
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
        &self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: Marker,
        diagnostics: &mut Diagnostics,
    ) -> Node {
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !is_text {
            self.refuse_tag(tag, "null bool int float", at, diagnostics);
        }
        Node {
            span: self.span(at),
            value: NodeValue::Scalar {
                text: text.into_owned(),
                plain: style == ScalarStyle::Plain && !is_text,
            },
        }
    }

    fn refuse_tag(
        &self,
        tag: Option<&Tag>,
        usual: &str,
        at: Marker,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(tag) = tag else { return };
        if !(tag.is_yaml_core_schema() && usual.split(' ').any(|known| known == tag.suffix)) {
            let handle = if tag.is_yaml_core_schema() { "!!" } else { &tag.handle };
            let message = format!("the YAML tag `{handle}{}` has no meaning here", tag.suffix);
            diagnostics.error(&self.span(at), message);
        }
    }

    fn begin(&mut self, at: Marker, anchor: usize, children: Children) -> Result<(), Stop> {
        if self.open.len() == DEPTH_MAX {
            return Err(too_deep(at));
        }
        self.open.push(Open { at, anchor, children });
        Ok(())
    }

    fn end(&mut self, at: Marker, diagnostics: &mut Diagnostics) -> Result<(), Stop> {
        let Some(closed) = self.open.pop() else {
            return Ok(());
        };
        let value = match closed.children {
            Children::List(items) => NodeValue::List(items),
            Children::Map { entries, .. } => NodeValue::Map(merged(entries, diagnostics)),
        };
        let span = self.span(closed.at);
        self.finished(Node { span, value }, closed.anchor, at)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside of the node that it names".to_owned();
            return Err(Stop { at, message });
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
            self.documents.push(node);
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
        Span { file: Arc::clone(&self.file), line: at.line().max(1), column: at.col() + 1 }
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

/// Applies `<<` (keys of the map itself win, then earlier merged maps) and reports keys that occur
/// twice; the first one stays.
fn merged(entries: Vec<(Node, Node)>, diagnostics: &mut Diagnostics) -> Vec<(Node, Node)> {
    let mut first: FxHashMap<String, usize> = FxHashMap::default();
    let mut kept: Vec<(Node, Node)> = Vec::with_capacity(entries.len());
    let mut inherited = Vec::new();
    for (key, value) in entries {
        let Some(name) = key.as_text() else {
            kept.push((key, value));
            continue;
        };
        if let Some(line) = first.get(name) {
            let message = format!("key `{name}` occurs twice in this map, first in line {line}");
            diagnostics.error(&key.span, message);
            continue;
        }
        first.insert(name.to_owned(), key.span.line);
        if is_merge(&key) {
            inherited.extend(inheritance(value, diagnostics));
        } else {
            kept.push((key, value));
        }
    }
    for (key, value) in inherited {
        let line = key.span.line;
        let is_new = key.as_text().is_none_or(|name| first.insert(name.to_owned(), line).is_none());
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
fn inheritance(value: Node, diagnostics: &mut Diagnostics) -> Vec<(Node, Node)> {
    let maps = match value.value {
        NodeValue::List(items) => items,
        _ => vec![value],
    };
    let mut entries = Vec::new();
    for map in maps {
        let found = map.describe();
        match map.value {
            NodeValue::Map(of_map) => entries.extend(of_map),
            _ => diagnostics.error(
                &map.span,
                format!("`<<` merges maps: expected a map or a list of maps, found {found}"),
            ),
        }
    }
    entries
}
