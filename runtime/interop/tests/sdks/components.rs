//! The playground's connected components, with functions of the Python SDK: an algorithm whose messages
//! run in circles ends with every vertex in the component with the smallest id.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dormouse_interop::application::{Application, changed};
use dormouse_interop::packages::{Language, Program};
use dormouse_interop::process::lasting_port;
use dormouse_interop::wire::request::Value;

use crate::functions::Functions;
use crate::stage::manifest;

/// Edges, in both directions. The first ten vertices are a ring, then there is a pair, a path, and one alone.
const EDGES: [(u32, u32); 15] = [
    (10, 11),
    (11, 12),
    (12, 13),
    (13, 14),
    (14, 15),
    (15, 16),
    (16, 17),
    (17, 18),
    (18, 19),
    (19, 10),
    (21, 20),
    (33, 32),
    (32, 31),
    (31, 30),
    (40, 40),
];
/// The smallest vertex of each component, and the greatest.
const COMPONENTS: [(u32, u32); 4] = [(10, 19), (20, 21), (30, 33), (40, 40)];
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_vertex_learns_its_component() -> Result<()> {
    let mut application = Application::new("python-components")?;
    let port = lasting_port()?;
    let log = application.directory().join("functions.log");
    let program = Program::ConnectedComponents;
    let functions = Functions::start(Language::Python, program, port, &log)?;
    let host = format!("http://127.0.0.1:{port}");
    let text = manifest("connected-components.yaml")?;
    let text = changed(&text, &[("http://connected-components-functions:8000", &host)])?;
    application.start_with(&text)?;
    let told = story(&mut application);
    told.with_context(|| format!("{}\n{}", application.log_tail(), functions.log_tail()))
}

fn story(application: &mut Application) -> Result<()> {
    let mut neighbours: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (one, other) in EDGES {
        neighbours.entry(one).or_default().push(other);
        neighbours.entry(other).or_default().push(one);
    }
    // From the greatest on: every one has to learn that there is a smaller one.
    for (vertex, neighbours) in neighbours.iter().rev() {
        let neighbours: Vec<String> = neighbours.iter().map(|id| format!("\"{id}\"")).collect();
        let json =
            format!(r#"{{"vertex_id": "{vertex}", "neighbours": [{}]}}"#, neighbours.join(", "));
        let value = Value::new("connected-components.types/vertex", json);
        let target = format!("connected-components.fns/vertex/{vertex}");
        application.sender().accepted(&target, &value)?;
    }
    let expected: BTreeMap<u32, u32> = COMPONENTS
        .iter()
        .flat_map(|(smallest, greatest)| (*smallest..=*greatest).map(|vertex| (vertex, *smallest)))
        .collect();
    let mut found: BTreeMap<u32, u32> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while found != expected {
        ensure!(Instant::now() < deadline, "found {found:?}");
        let answer = application.egress_answer("/connected-component-changes")?;
        if answer.status != 200 {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        let (vertex, component) = parse(answer.text()?)?;
        if let Some(before) = found.insert(vertex, component) {
            ensure!(component < before, "vertex {vertex} went from {before} to {component}");
        }
    }
    Ok(())
}

/// `Vertex V belongs to component C.`
fn parse(record: &str) -> Result<(u32, u32)> {
    let rest = record.strip_prefix("Vertex ").and_then(|rest| rest.strip_suffix('.'));
    let parts = rest.and_then(|rest| rest.split_once(" belongs to component "));
    let (vertex, component) = parts.with_context(|| format!("no change: {record}"))?;
    Ok((vertex.parse()?, component.parse()?))
}
